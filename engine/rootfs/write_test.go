package rootfs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"golang.org/x/sys/unix"
)

func read(t *testing.T, tree *rootfs.FS, name string) string {
	t.Helper()
	data, err := tree.ReadFile(name, 0)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

func modeOf(t *testing.T, tree *rootfs.FS, name string) uint32 {
	t.Helper()
	info, err := tree.Lstat(name)
	must(t, err)
	return info.Bits()
}

// The modes are the ones asked for, special bits included, under any umask.
func TestExactModes(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		tree, _ := hostile(t)
		old := unix.Umask(umask)
		checkModes(t, tree)
		unix.Umask(old)
	}
}

func checkModes(t *testing.T, tree *rootfs.FS) {
	t.Helper()
	for _, mode := range []fs.FileMode{0o644, 0o666, 0o600, 0o444, 0o4755, 0o755 | fs.ModeSetuid, 0o2711, 0o1777, 0o000} {
		want := rootfs.Info{Mode: mode}.Bits()
		must(t, tree.WriteFile("dir/new", []byte("x"), rootfs.Write{Mode: &mode}))
		if got := modeOf(t, tree, "dir/new"); got != want {
			t.Errorf("new file has mode %o, want %o", got, want)
		}
		must(t, tree.Chmod("dir/new", 0o700))
		must(t, tree.WriteFile("dir/new", []byte("x"), rootfs.Write{Mode: &mode, Append: true}))
		if got := modeOf(t, tree, "dir/new"); got != want {
			t.Errorf("old file has mode %o, want %o", got, want)
		}
		must(t, tree.Chmod("dir/new", 0o700))
		must(t, tree.Chmod("todir/new", mode))
		if got := modeOf(t, tree, "dir/new"); got != want {
			t.Errorf("after Chmod: mode %o, want %o", got, want)
		}
		must(t, tree.Remove("dir/new", false))
		must(t, tree.Mkdir("dir/a/b", mode, true))
		if got := modeOf(t, tree, "dir/a/b"); got != want {
			t.Errorf("new directory has mode %o, want %o", got, want)
		}
		if got := modeOf(t, tree, "dir/a"); got != 0o755 {
			t.Errorf("parent has mode %o, want 755", got)
		}
		must(t, tree.Remove("dir/a", true))
	}
	must(t, tree.WriteFile("dir/default", nil, rootfs.Write{}))
	if got := modeOf(t, tree, "dir/default"); got != 0o644 {
		t.Errorf("default mode %o, want 644", got)
	}
	wantError(t, tree.Chmod("dir", 0o755|fs.ModeDir), unix.EINVAL, "/dir")
}

func TestWriteFile(t *testing.T) {
	tree, _ := hostile(t)
	must(t, tree.Chmod("dir/file", 0o600))
	must(t, os.Link(filepath.Join(tree.Dir(), "dir/file"), filepath.Join(tree.Dir(), "second")))
	must(t, tree.WriteFile("todir/file", []byte("one"), rootfs.Write{}))
	must(t, tree.WriteFile("/dir/file", []byte(" two"), rootfs.Write{Append: true}))
	if got := read(t, tree, "second"); got != "one two" {
		t.Errorf("the file's other name reads %q", got)
	}
	if got := modeOf(t, tree, "dir/file"); got != 0o600 {
		t.Errorf("mode became %o", got)
	}
	must(t, tree.WriteFile("dir/log", []byte("a"), rootfs.Write{Append: true}))
	if got := read(t, tree, "dir/log"); got != "a" {
		t.Errorf("appending to a new file: %q", got)
	}
	wantError(t, tree.WriteFile("dir/new/", nil, rootfs.Write{}), unix.EISDIR, "/dir/new/")
	wantError(t, tree.WriteFile("missing/new", nil, rootfs.Write{}), fs.ErrNotExist, "/missing/new")
}

// Writing through a dangling link makes the target where the link points inside the root.
func TestDanglingLinks(t *testing.T) {
	tree, outside := hostile(t)
	must(t, tree.Mkdir(outside, 0o755, true)) // the same path, inside
	must(t, tree.Mkdir("deep", 0o755, false))
	must(t, tree.Mkdir("dir/below", 0o755, false))
	must(t, tree.Symlink("/dir/below", "deep/link")) // "link/../six" is dir/six; cut as text it would be deep/six
	for _, link := range []struct{ name, target, file string }{
		{"relative", "dir/one", "dir/one"},
		{"rooted", "/dir/two", "dir/two"},
		{"host", outside + "/three", outside + "/three"},
		{"above", "../../../../dir/four", "dir/four"},
		{"linkup", "todir/../five", "five"},
		{"deep/textual", "link/../six", "dir/six"},
		{"dir/chain", "../relative", "dir/one"},
	} {
		must(t, tree.Symlink(link.target, link.name))
		must(t, tree.WriteFile(link.name, []byte(link.name), rootfs.Write{}))
		if got := read(t, tree, link.file); got != link.name {
			t.Errorf("%s -> %s: %s reads %q", link.name, link.target, link.file, got)
		}
		if info, err := tree.Lstat(link.name); info.Link != link.target || err != nil {
			t.Errorf("the link %s became %+v, %v", link.name, info, err)
		}
		must(t, tree.Remove(link.file, false))
	}
}

func TestWriteThroughLoop(t *testing.T) {
	tree, _ := hostile(t)
	wantError(t, tree.WriteFile("loop", nil, rootfs.Write{}), unix.ELOOP, "/loop")
	must(t, tree.Symlink("nowhere/x", "dangling"))
	wantError(t, tree.WriteFile("dangling", nil, rootfs.Write{}), fs.ErrNotExist, "/dangling")
	must(t, tree.Symlink("newdir/", "todirectory"))
	wantError(t, tree.WriteFile("todirectory", nil, rootfs.Write{}), unix.EISDIR, "/todirectory")
}

func TestMkdir(t *testing.T) {
	tree, _ := hostile(t)
	must(t, tree.Mkdir("todir/new", 0o755, false))
	wantError(t, tree.Mkdir("dir/new", 0o755, false), fs.ErrExist, "/dir/new")
	must(t, tree.Mkdir("dir/new", 0o700, true))
	if got := modeOf(t, tree, "dir/new"); got != 0o755 {
		t.Errorf("mkdir -p changed a directory's mode to %o", got)
	}
	must(t, tree.Mkdir("/", 0o755, true))
	must(t, tree.Mkdir("slash/up/todir/a/b/c/", 0o755, true))
	if got, err := tree.Resolve("todir/a/b/c"); got != "dir/a/b/c" || err != nil {
		t.Errorf("Resolve = %q, %v", got, err)
	}
	wantError(t, tree.Mkdir("missing/x", 0o755, false), fs.ErrNotExist, "/missing/x")
	wantError(t, tree.Mkdir("missing/../x", 0o755, true), fs.ErrNotExist, "/missing/../x")
	wantError(t, tree.Mkdir("dir/file", 0o755, true), unix.ENOTDIR, "/dir/file")
	wantError(t, tree.Mkdir("dir/file/x", 0o755, true), unix.ENOTDIR, "/dir/file/x")
	for _, dangling := range []string{"absolute", "absolute/x/y", "parent/x"} {
		wantError(t, tree.Mkdir(dangling, 0o755, true), fs.ErrExist, dangling)
	}
}

func TestSymlinkAndRename(t *testing.T) {
	tree, outside := hostile(t)
	must(t, tree.Symlink(outside, "todir/link"))
	wantError(t, tree.Symlink("x", "dir/link"), fs.ErrExist, "/dir/link")
	must(t, tree.Rename("dir/link", "up/moved"))
	if info, err := tree.Lstat("moved"); info.Link != outside || err != nil {
		t.Errorf("Lstat(moved) = %+v, %v", info, err)
	}
	must(t, tree.Rename("dir/file", "slash")) // replaces the link, doesn't follow it
	if got := read(t, tree, "slash"); got != "inside" {
		t.Errorf("slash reads %q", got)
	}
	must(t, tree.Rename("dir", "renamed/"))
	if names, err := tree.ReadDir("renamed"); len(names) != 0 || err != nil {
		t.Errorf("ReadDir(renamed) = %q, %v", names, err)
	}
}
