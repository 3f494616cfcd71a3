package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/journal"
)

// own gives the store a journal, and returns what reads how it comes out for an image: "" if it isn't named, "image" or "whole".
func own(t *testing.T, s *Store) func(id string) string {
	t.Helper()
	j, err := journal.Begin(t.Context(), s.JournalDir(), s.JournalHeader())
	check(t, err)
	check(t, s.Own(j))
	t.Cleanup(func() { check(t, j.End()) })
	return func(id string) (last string) {
		text, err := os.ReadFile(filepath.Join(s.JournalDir(), j.ID()))
		check(t, err)
		for line := range strings.Lines(string(text)) {
			kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			if rest == fmt.Sprintf("%q", id) && kind != string(journal.Used) {
				last = kind
			}
		}
		return last
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestImagesUntilTheyAreWhole: the journal names an image before it is in the store, and until it has the name that it gets, or
// was meant to have none.
func TestImagesUntilTheyAreWhole(t *testing.T) {
	p := newPlace(t)
	p.Driver = "vfs"
	s := p.open(t)
	before, err := s.CreateImage("", nil, "", "", nil)
	check(t, err)
	noted := own(t, s)
	create := func(names ...string) string {
		image, err := s.CreateImage("", names, "", "", nil)
		check(t, err)
		return image.ID
	}
	expect := func(id, want string) {
		t.Helper()
		if got := noted(id); got != want {
			t.Errorf("the journal says %q, want %q", got, want)
		}
	}
	temporary := []string{"docker.io/library/" + strings.Repeat("0f", 32) + "-tmp:latest"}

	id := create("localhost/named:1")
	expect(id, "whole")
	id = create()
	expect(id, "image")
	check(t, s.AddNames(id, []string{"localhost/later:1"}))
	expect(id, "whole")

	// One without a name has one for a moment, and may be wanted only as long as its build takes.
	id = create()
	check(t, s.AddNames(id, temporary))
	expect(id, "image")
	check(t, s.RemoveNames(id, temporary))
	expect(id, "image")
	check(t, s.Settle())
	expect(id, "whole")
	id = create()
	cache := s.Caching()
	check(t, cache.AddNames(id, temporary))
	expect(id, "image")
	check(t, cache.RemoveNames(id, temporary))
	expect(id, "whole")

	// One that was there before stays, whatever the library does with it.
	if _, err := s.CreateImage(before.ID, nil, "", "", nil); err == nil {
		t.Error("an image was made twice")
	}
	check(t, s.AddNames(before.ID, temporary))
	expect(before.ID, "")
	check(t, s.Passing(before.ID))
	expect(before.ID, "image")
}

// TestNamesThatCantBeWritten: what the list of images on the disk doesn't say isn't so, now and when it can be written again.
func TestNamesThatCantBeWritten(t *testing.T) {
	p := newPlace(t)
	p.Driver = "vfs"
	check(t, os.Mkdir(p.Root, 0o700))
	check(t, unix.Mount("tmpfs", p.Root, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { check(t, unix.Unmount(p.Root, unix.MNT_DETACH)) })
	s := p.open(t)
	own(t, s)
	const moved, fresh, kept = "localhost/moved:1", "localhost/fresh:1", "localhost/kept:1"
	old, err := s.CreateImage("", []string{moved}, "", "", nil)
	check(t, err)
	image, err := s.CreateImage("", []string{kept}, "", "", nil)
	check(t, err)

	full := func(do func() error) {
		t.Helper()
		filler := filepath.Join(p.Root, "filler")
		if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling the file system: %v", err)
		}
		if err := do(); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("got %v", err)
		}
		check(t, os.Remove(filler))
	}
	full(func() error { return s.AddNames(image.ID, []string{kept, moved, fresh}) })
	// The library's commits and pulls delete what they can't name, and this they haven't made.
	if _, err := s.DeleteImage(image.ID, true); err != nil {
		t.Error(err)
	}
	full(func() error { return s.RemoveNames(old.ID, []string{moved}) })

	check(t, s.SetMetadata(image.ID, "written")) // the list is written again
	for id, want := range map[string]string{old.ID: moved, image.ID: kept} {
		now, err := s.Image(id)
		check(t, err)
		if !slices.Equal(now.Names, []string{want}) {
			t.Errorf("the names are %q, want %q", now.Names, want)
		}
	}
	list, err := os.ReadFile(filepath.Join(p.Root, "vfs-images/images.json"))
	check(t, err)
	if strings.Contains(string(list), `"names":["`+fresh) || strings.Count(string(list), `"names":`) != 2 {
		t.Errorf("on the disk: %s", list)
	}
	if _, err := s.DeleteImage(image.ID, true); err != nil {
		t.Error(err)
	}
	if s.Exists(image.ID) {
		t.Error("the image is there after it was deleted")
	}
}
