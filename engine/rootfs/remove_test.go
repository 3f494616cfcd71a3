package rootfs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"golang.org/x/sys/unix"
)

func TestRemove(t *testing.T) {
	tree, outside := hostile(t)
	wantError(t, tree.Remove("dir", false), unix.ENOTEMPTY, "/dir")
	wantError(t, tree.Remove("missing", true), fs.ErrNotExist, "/missing")
	wantError(t, tree.Remove("dir/file/x", true), unix.ENOTDIR, "/dir/file/x")
	// A link goes, what it leads to stays, with a trailing slash too.
	for _, link := range []string{"todir/", "slash", "up/", "absolute/", "loop"} {
		must(t, tree.Remove(link, true))
		_, err := tree.Lstat(link)
		wantError(t, err, fs.ErrNotExist, link)
	}
	// A tree with links in it, also to outside and to what is above.
	must(t, tree.Mkdir("tree/a/b", 0o755, true))
	for name, target := range map[string]string{"tree/out": outside, "tree/a/top": "/", "tree/a/b/dir": "../../../dir"} {
		must(t, tree.Symlink(target, name))
	}
	must(t, tree.Mkdir("tree/a/b/"+strings.Repeat("deep/", 200), 0o755, true))
	must(t, tree.Remove("tree", true))
	if got := read(t, tree, "dir/file"); got != "inside" {
		t.Errorf("dir/file reads %q", got)
	}
	must(t, tree.Remove("dir/file", false))
	must(t, tree.Remove("dir", false))
}

// The file that stands in the way is named, not the tree.
func TestRemoveNamesWhatItCannot(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may delete from any directory")
	}
	tree, _ := hostile(t)
	must(t, tree.Mkdir("tree/a", 0o755, true))
	must(t, tree.WriteFile("tree/a/kept", nil, rootfs.Write{}))
	must(t, tree.Chmod("tree/a", 0o555))
	wantError(t, tree.Remove("tree", true), fs.ErrPermission, "/tree/a/kept")
	must(t, tree.Chmod("tree/a", 0o755))
	must(t, tree.Remove("tree", true))
}

// A path deeper than PATH_MAX can only be made and deleted relative to a descriptor.
func TestRemoveDeeperThanPathMax(t *testing.T) {
	tree, _ := hostile(t)
	must(t, tree.Mkdir("tree", 0o755, false))
	long := strings.Repeat("n", 200)
	at, err := unix.Open(filepath.Join(tree.Dir(), "tree"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range 30 {
		must(t, unix.Mkdirat(at, long, 0o755))
		next, err := unix.Openat(at, long, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Close(at))
		at = next
	}
	must(t, unix.Close(at))
	must(t, tree.Chown("tree", os.Getuid(), os.Getgid(), true))
	must(t, tree.Remove("tree", true))
}
