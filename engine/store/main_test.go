package store

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootless/rootlesstest"
	"go.podman.io/storage/pkg/reexec"
)

// TestMain runs the whole suite inside a namespace: a store can be opened nowhere else.
func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	rootlesstest.Enter()
	// What the machine is set to is not what is tested.
	for _, name := range []string{"STORAGE_DRIVER", "STORAGE_OPTS", "CONTAINERS_STORAGE_CONF", "CONTAINERS_STORAGE_CONF_OVERRIDE"} {
		os.Unsetenv(name)
	}
	home, err := os.MkdirTemp("", "store-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("HOME", home)
	os.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	os.Setenv("XDG_DATA_HOME", filepath.Join(home, "data"))
	status := m.Run()
	os.RemoveAll(home)
	os.Exit(status)
}

// place is a store's directories and the notes it was opened with.
type place struct {
	Options
	notes []string
}

// newPlace returns a place where there's no store yet.
func newPlace(t *testing.T) *place {
	t.Helper()
	// Not t.TempDir, whose removal doesn't wait for a mount to go: Cleanup runs last in, first out.
	dir, err := os.MkdirTemp("", "store-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p := &place{Options: Options{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run")}}
	p.Note = func(line string) { p.notes = append(p.notes, line) }
	return p
}

// open opens the store at p, to be closed when the test is over.
func (p *place) open(t *testing.T) *Store {
	t.Helper()
	p.notes = nil
	s, err := Open(p.Options)
	if err != nil {
		t.Fatalf("%v\nhint: %s", err, failure.HintOf(err))
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// refused checks that the store at p can't be opened, for a reason of this kind and with these words in it.
func (p *place) refused(t *testing.T, kind failure.Kind, words, hint string) {
	t.Helper()
	s, err := Open(p.Options)
	if err == nil {
		_ = s.Close()
		t.Fatalf("%s is opened with %s", p.Root, s.Choice.Driver)
	}
	if want := map[failure.Kind]int{failure.Usage: 2, failure.Machine: 3}[kind]; failure.Status(err) != want {
		t.Errorf("exit status is %d, want %d", failure.Status(err), want)
	}
	if !strings.Contains(err.Error(), words) || !strings.Contains(failure.HintOf(err), hint) {
		t.Errorf("got %q and %q, want %q and %q", err, failure.HintOf(err), words, hint)
	}
}

// file writes a file below the root, with the folders it needs.
func (p *place) file(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(p.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// works checks that s stores layers one upon the other, mounts them and keeps what is written.
func works(t *testing.T, s *Store) {
	t.Helper()
	lower := layer(t, s, "")
	upper, err := s.CreateLayer("", lower, nil, "", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := s.Mount(upper.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(content) != "text" {
		t.Errorf("the lower layer's file is %q, %v", content, err)
	}
	if err := os.Remove(filepath.Join(dir, "file")); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); err != nil {
		t.Error(err)
	}
	if _, err := s.Unmount(upper.ID, false); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(diff(t, s, upper.ID)); got != "[.wh.file new]" {
		t.Errorf("the upper layer holds %s", got)
	}
	for _, id := range []string{upper.ID, lower} {
		if err := s.DeleteLayer(id); err != nil {
			t.Error(err)
		}
	}
}

// diff returns the names in a layer's tar stream, sorted, where ".wh.x" stands for the removal of x.
func diff(t *testing.T, s *Store, id string) []string {
	t.Helper()
	stream, err := s.Diff("", id, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var names []string
	for archive := tar.NewReader(stream); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	slices.Sort(names)
	return names
}

// layer puts a layer with one file into the store, owned by owner (a user ID) if that isn't empty, and returns its ID.
func layer(t *testing.T, s *Store, owner string) string {
	t.Helper()
	id, err := tryLayer(s, owner)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func tryLayer(s *Store, owner string) (string, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: "file", Typeflag: tar.TypeReg, Mode: 0o644, Size: 4}
	if owner != "" {
		if _, err := fmt.Sscan(owner, &header.Uid); err != nil {
			return "", err
		}
	}
	if err := w.WriteHeader(header); err != nil {
		return "", err
	}
	if _, err := w.Write([]byte("text")); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	l, _, err := s.PutLayer("", "", nil, "", false, nil, &archive)
	if err != nil {
		return "", err
	}
	return l.ID, nil
}
