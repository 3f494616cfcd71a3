package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/journal"
)

// fullStore is a store whose file system has no room for the next changes of names.
type fullStore struct {
	storage.Store
	refuses int
	naming  func(id string) // called before there is a name; nil for nothing
	named   func()          // called when there is one
}

func (s *fullStore) AddNames(id string, names []string) error {
	if s.refuses > 0 {
		s.refuses--
		return unix.ENOSPC
	}
	if s.naming != nil {
		s.naming(id)
	}
	err := s.Store.AddNames(id, names)
	if s.named != nil {
		s.named()
	}
	return err
}

// TestNoRoomForName: an image that can't be named at first gets its name when there is room, and is whole; else nothing is left
// of it.
func TestNoRoomForName(t *testing.T) {
	for refuses, want := range []bool{true, true, false} {
		b := run(t, place(t), "overlay")
		c, err := b.From(t.Context(), FromOptions{Image: Scratch})
		check(t, err)
		root, err := c.Mount()
		check(t, err)
		check(t, os.WriteFile(filepath.Join(root, "file"), []byte("text"), 0o644))
		full := &fullStore{Store: b.options.Store.Store, refuses: refuses}
		b.options.Store.Store = full
		image, err := c.Commit(t.Context(), CommitOptions{Name: "localhost/room"})
		b.options.Store.Store = full.Store
		if (err == nil) != want || !want && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("with no room %d times: %v", refuses, err)
		}
		if err == nil {
			if layer, err := b.options.Store.Layer(topLayer(t, b, image)); err != nil || layer.Flags["incomplete"] != nil {
				t.Errorf("with no room %d times the layer is %+v, %v", refuses, layer, err)
			}
		} else if images, _ := b.options.Store.Images(); len(images) > 0 {
			t.Errorf("the image is left: %+v", images)
		} else if layers, _ := b.options.Store.Layers(); len(layers) != 1 {
			t.Errorf("%d layers are left, want the container's alone", len(layers))
		}
		sound(t, b)
	}
}

func topLayer(t *testing.T, b *Builder, image *Image) string {
	t.Helper()
	found, err := b.options.Store.Image(image.ID)
	check(t, err)
	return found.TopLayer
}

// TestFullJournal: an image that is there and has its name is committed, also when that can't be noted.
func TestFullJournal(t *testing.T) {
	b := run(t, place(t), "overlay")
	c, err := b.From(t.Context(), FromOptions{Image: Scratch})
	check(t, err)
	notes, err := journal.Begin(t.Context(), b.options.Store.JournalDir(), b.options.Store.JournalHeader())
	check(t, err)
	b.options.Journal = notes
	check(t, b.options.Store.Own(notes))
	store := b.options.Store.Store
	b.options.Store.Store = &fullStore{Store: store, named: func() { check(t, notes.End()) }} // it takes no more
	image, err := c.Commit(t.Context(), CommitOptions{Name: "localhost/noted"})
	b.options.Store.Store, b.options.Journal = store, nil
	check(t, err)
	if found, err := store.Image("localhost/noted:latest"); err != nil || found.ID != image.ID {
		t.Errorf("the name is of %v, %v", found, err)
	}
}

// TestJournalledUntilNamed: whoever makes an image, it is in the journal as long as it has no name, and not any more when the commit
// is done.
func TestJournalledUntilNamed(t *testing.T) {
	for _, o := range []CommitOptions{{Name: "localhost/app:1"}, {}, {Name: "localhost/app:1", Squash: true}, {Squash: true}} {
		for _, method := range CommitMethods() {
			b := run(t, place(t), "vfs")
			if b.options.CommitMethod = method; method == fastMethod {
				b.options.CommitMethod = "" // what it can't make is the library's
			}
			c, err := b.From(t.Context(), FromOptions{Image: Scratch})
			check(t, err)
			notes, err := journal.Begin(t.Context(), b.options.Store.JournalDir(), b.options.Store.JournalHeader())
			check(t, err)
			check(t, b.options.Store.Own(notes))
			says := func(kind journal.Kind, id string) bool {
				text, err := os.ReadFile(filepath.Join(b.options.Store.JournalDir(), notes.ID()))
				check(t, err)
				return strings.Contains(string(text), fmt.Sprintf("\n%s %q\n", kind, id))
			}
			named := 0
			store := b.options.Store.Store
			b.options.Store.Store = &fullStore{Store: store, naming: func(id string) {
				if named++; !says(journal.Image, id) || says(journal.Whole, id) {
					t.Errorf("%s, %+v: the journal doesn't name the image before its name", method, o)
				}
			}}
			image, err := c.Commit(t.Context(), o)
			b.options.Store.Store = store
			check(t, err)
			if !says(journal.Image, image.ID) || !says(journal.Whole, image.ID) {
				t.Errorf("%s, %+v: the journal doesn't say that the image is whole", method, o)
			}
			if o.Name != "" && named == 0 {
				t.Errorf("%s, %+v: the image got its name unseen", method, o)
			}
			check(t, notes.End())
		}
	}
}

// TestNotGivenUp: the files of a container that may outlive the run don't become the layer's.
func TestNotGivenUp(t *testing.T) {
	for _, c := range []struct {
		container Container
		want      bool
	}{{Container{}, true}, {Container{keep: true}, false}, {Container{adopted: &adopted{}}, false}} {
		j := &commitment{container: &c.container, CommitOptions: CommitOptions{Remove: true}}
		if got := j.givesUp(); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
