package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A walk downwards gets the entry itself, never what a link leads to, and no mount; with openat2 and without.
func TestBelow(t *testing.T) {
	tmp := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(tmp, "dir"), 0o755),
		os.WriteFile(filepath.Join(tmp, "file"), nil, 0o644),
		os.Symlink("dir", filepath.Join(tmp, "link")),
		os.Symlink("/", filepath.Join(tmp, "out")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ways := map[string]func(*os.File, string) (*os.File, error){"openat2": below, "device": belowByDevice}
	types := map[string]fs.FileMode{"dir": fs.ModeDir, "file": 0, "link": fs.ModeSymlink, "out": fs.ModeSymlink}
	for name, open := range ways {
		for entry, want := range types {
			child, err := open(handleOf(t, tmp), entry)
			if err != nil {
				t.Errorf("%s: %s: %v", name, entry, err)
				continue
			}
			if st, err := child.Stat(); err != nil || st.Mode().Type() != want {
				t.Errorf("%s: %s is %v, %v; want %v", name, entry, st.Mode(), err, want)
			}
			child.Close()
		}
		if _, err := open(handleOf(t, tmp), "missing"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: missing: %v", name, err)
		}
		if _, err := open(handleOf(t, "/"), "proc"); !errors.Is(err, unix.EXDEV) {
			t.Errorf("%s: a mount point: %v, want EXDEV", name, err)
		}
	}
}

func handleOf(t *testing.T, dir string) *os.File {
	t.Helper()
	handle, err := os.OpenFile(dir, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close() })
	return handle
}
