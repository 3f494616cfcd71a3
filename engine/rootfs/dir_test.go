package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostileDir returns a tree whose directory d has links out of the root, and the file outside that they lead to.
func hostileDir(t *testing.T) (d *Dir, root *FS, outside string) {
	t.Helper()
	base := t.TempDir()
	outside = filepath.Join(base, "outside")
	dir := filepath.Join(base, "root", "d")
	for _, err := range []error{
		os.MkdirAll(dir, 0o755), os.MkdirAll(filepath.Join(base, "outdir"), 0o755), os.WriteFile(outside, []byte("secret"), 0o600),
		os.Symlink("../../outside", filepath.Join(dir, "link")), os.Symlink("../../outdir", filepath.Join(dir, "dirlink")),
		os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644), unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := Open(filepath.Join(base, "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	if d, err = root.OpenDir("d"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, root, outside
}

func TestDirFollowsNothing(t *testing.T) {
	d, root, outside := hostileDir(t)
	if _, err := d.Read("link"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("reading a link: %v", err)
	}
	if _, err := d.Open("dirlink"); !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		t.Errorf("opening a link to a directory: %v", err)
	}
	if _, err := d.Create("link"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating through a link: %v", err)
	}
	if err := d.Mkdir("dirlink"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("making a directory through a link: %v", err)
	}
	if st, err := d.Lstat("link"); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("describing a link: %o, %v", st.Mode, err)
	}
	before, err := os.Stat(outside)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Chtimes("link", time.Unix(1, 0)); err != nil {
		t.Errorf("the time of a link: %v", err)
	}
	_ = d.Chmod("link", 0o777) // what a link's own mode is, file systems don't agree on
	if err := d.Link(root, "d/link", "second"); err != nil {
		t.Errorf("another name of a link: %v", err)
	}
	if err := d.Remove("link"); err != nil {
		t.Errorf("removing a link: %v", err)
	}
	after, err := os.Stat(outside)
	if err != nil || !after.ModTime().Equal(before.ModTime()) || after.Mode() != before.Mode() {
		t.Errorf("the file outside was %v %v and is %v, %v", before.Mode(), before.ModTime(), after, err)
	}
}

// TestDirTakesPlainNames: a name that isn't an entry's could lead anywhere.
func TestDirTakesPlainNames(t *testing.T) {
	d, root, _ := hostileDir(t)
	for _, name := range []string{"", ".", "..", "../d", "/etc/passwd", "a/b"} {
		_, lstat := d.Lstat(name)
		_, read := d.Read(name)
		_, open := d.Open(name)
		_, create := d.Create(name)
		_, readlink := d.Readlink(name)
		for call, err := range map[string]error{"Lstat": lstat, "Read": read, "Open": open, "Create": create,
			"Readlink": readlink, "Mkdir": d.Mkdir(name), "Symlink": d.Symlink("x", name), "Mknod": d.Mknod(name, unix.S_IFIFO, 0),
			"Chown": d.Chown(name, -1, -1), "Chmod": d.Chmod(name, 0), "Chtimes": d.Chtimes(name, time.Now()),
			"Remove": d.Remove(name), "Link": d.Link(root, "d/file", name)} {
			if !errors.Is(err, unix.EINVAL) {
				t.Errorf("%s(%q): %v", call, name, err)
			}
		}
	}
}

func TestDirReadsRegularFilesOnly(t *testing.T) {
	d, _, _ := hostileDir(t)
	if file, err := d.Read("pipe"); !errors.Is(err, unix.ESTALE) {
		t.Errorf("a pipe: %v, %v", file, err)
	}
	file, err := d.Read("file")
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
}

func TestSubHoldsLinksInside(t *testing.T) {
	_, root, _ := hostileDir(t)
	if err := root.Mkdir("d/etc", 0o755, false); err != nil {
		t.Fatal(err)
	}
	if err := root.Symlink("/etc", "d/abs"); err != nil {
		t.Fatal(err)
	}
	sub, err := root.Sub("d")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if _, err := sub.Stat("link"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link that leads out: %v", err)
	}
	if name, err := sub.Resolve("abs"); err != nil || name != "etc" {
		t.Errorf("an absolute link leads to %q, %v", name, err)
	}
	if _, err := root.Sub("d/file"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("the tree below a file: %v", err)
	}
}
