package rootfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"golang.org/x/sys/unix"
)

const secret = "what lies outside"

// hostile makes <tmp>/outside, which nothing may read or change, and beside it <tmp>/root with links that lead there,
// and opens the root. The check that outside is as it was runs when the test ends.
func hostile(t testing.TB) (tree *rootfs.FS, outside string) {
	t.Helper()
	tmp := t.TempDir()
	outside = filepath.Join(tmp, "outside")
	root := filepath.Join(tmp, "root")
	for _, dir := range []string{outside, filepath.Join(outside, "sub"), root, filepath.Join(root, "dir")} {
		must(t, os.Mkdir(dir, 0o755))
	}
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte(secret), 0o640))
	must(t, os.WriteFile(filepath.Join(outside, "sub", "secret"), []byte(secret), 0o640))
	must(t, os.WriteFile(filepath.Join(root, "dir", "file"), []byte("inside"), 0o644))
	for name, target := range map[string]string{
		"slash":    "/",
		"up":       "../../../../../../../../../..",
		"parent":   "../outside",
		"absolute": outside,
		"chain":    "dir/../absolute",
		"todir":    "/dir",
		"loop":     "loop",
		"secret":   filepath.Join(outside, "secret"),
	} {
		must(t, os.Symlink(target, filepath.Join(root, name)))
	}
	before := snapshot(t, outside)
	t.Cleanup(func() {
		if after := snapshot(t, outside); after != before {
			t.Errorf("outside was\n%sand is\n%s", before, after)
		}
	})
	return open(t, root), outside
}

func open(t testing.TB, dir string) *rootfs.FS {
	t.Helper()
	tree, err := rootfs.Open(dir)
	must(t, err)
	t.Cleanup(func() { tree.Close() })
	return tree
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks that err is target (any error when nil) and names name.
func wantError(t testing.TB, err, target error, name string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: no error, want %v", name, target)
	case target != nil && !errors.Is(err, target):
		t.Errorf("%s: error %v, want %v", name, err, target)
	case !strings.Contains(err.Error(), name):
		t.Errorf("error %q doesn't name %q", err, name)
	}
}

// snapshot describes everything below dir: names, modes, owners, contents.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	var all strings.Builder
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		content := []byte{}
		if d.Type().IsRegular() {
			if content, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		fmt.Fprintf(&all, "%s %o %d:%d %q\n", name, st.Mode, st.Uid, st.Gid, content)
		return nil
	}))
	return all.String()
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := rootfs.Open(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing root: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	if _, err := rootfs.Open(filepath.Join(dir, "file")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("file as root: %v", err)
	}
	tree, err := rootfs.Open(dir)
	must(t, err)
	if tree.Dir() != dir {
		t.Errorf("Dir() = %q, want %q", tree.Dir(), dir)
	}
	must(t, tree.Close())
	for _, name := range []string{"", "file", "../file", dir} {
		if _, err := tree.Stat(name); err == nil {
			t.Errorf("Stat(%q) works after Close", name)
		}
	}
}

// What a root is held by is its descriptor, not its path.
func TestRootRenamed(t *testing.T) {
	tmp := t.TempDir()
	must(t, os.Mkdir(filepath.Join(tmp, "a"), 0o755))
	tree := open(t, filepath.Join(tmp, "a"))
	must(t, os.Rename(filepath.Join(tmp, "a"), filepath.Join(tmp, "b")))
	must(t, os.Mkdir(filepath.Join(tmp, "a"), 0o755))
	must(t, tree.WriteFile("x", nil, rootfs.Write{}))
	if _, err := os.Stat(filepath.Join(tmp, "b", "x")); err != nil {
		t.Error(err)
	}
	if got, err := tree.Resolve("x"); got != "x" || err != nil {
		t.Errorf("Resolve = %q, %v", got, err)
	}
}

// Every spelling of "dir/file" that stays inside, links included, is the same file.
func TestNamesInside(t *testing.T) {
	tree, _ := hostile(t)
	for _, name := range []string{
		"dir/file", "/dir/file", "//dir//file", "./dir/./file", "../dir/file", "/../../dir/file", "dir/../dir/file",
		"todir/file",
		"slash/dir/file", "slash/slash/dir/file", "up/dir/file", "up/../dir/file", "/slash/../up/todir/file",
	} {
		data, err := tree.ReadFile(name, 0)
		if string(data) != "inside" || err != nil {
			t.Errorf("ReadFile(%q) = %q, %v", name, data, err)
		}
		if got, err := tree.Resolve(name); got != "dir/file" || err != nil {
			t.Errorf("Resolve(%q) = %q, %v", name, got, err)
		}
		if info, err := tree.Stat(name); !info.Mode.IsRegular() || info.Size != 6 || err != nil {
			t.Errorf("Stat(%q) = %+v, %v", name, info, err)
		}
	}
	for _, name := range []string{"", "/", ".", "..", "slash", "up", "dir/..", "up/slash/../.."} {
		names, err := tree.ReadDir(name)
		if !slices.Contains(names, "todir") || err != nil {
			t.Errorf("ReadDir(%q) = %q, %v; want the root's", name, names, err)
		}
		if got, err := tree.Resolve(name); got != "." || err != nil {
			t.Errorf("Resolve(%q) = %q, %v", name, got, err)
		}
	}
}

// Every operation on every name that would lead out fails, or does its work inside; hostile checks outside afterwards.
func TestNamesOutside(t *testing.T) {
	tree, outside := hostile(t)
	mode := fs.FileMode(0o777)
	operations := map[string]func(name string) error{
		"read":      func(name string) error { _, err := tree.ReadFile(name, 0); return err },
		"list":      func(name string) error { _, err := tree.ReadDir(name); return err },
		"stat":      func(name string) error { _, err := tree.Stat(name); return err },
		"resolve":   func(name string) error { _, err := tree.Resolve(name); return err },
		"chmod":     func(name string) error { return tree.Chmod(name, mode) },
		"chown":     func(name string) error { return tree.Chown(name, os.Getuid(), os.Getgid(), true) },
		"append":    func(name string) error { return tree.WriteFile(name+"/new", nil, rootfs.Write{Append: true}) },
		"write":     func(name string) error { return tree.WriteFile(name+"/new", nil, rootfs.Write{Mode: &mode}) },
		"mkdir":     func(name string) error { return tree.Mkdir(name+"/new", mode, false) },
		"symlink":   func(name string) error { return tree.Symlink("x", name+"/new") },
		"rename":    func(name string) error { return tree.Rename("dir/file", name+"/new") },
		"take":      func(name string) error { return tree.Rename(name+"/secret", "dir/new") },
		"remove":    func(name string) error { return tree.Remove(name+"/secret", false) },
		"remove -r": func(name string) error { return tree.Remove(name+"/sub", true) },
	}
	for _, name := range []string{
		"parent", "absolute", "chain", "../outside", "/" + outside, "slash" + outside, "up" + outside,
		"dir/../../outside", "todir/../../outside",
	} {
		for operation, do := range operations {
			err := do(name)
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s %s: %v, want fs.ErrNotExist", operation, name, err)
			}
		}
	}
	if _, err := tree.ReadFile("secret", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading a link to outside: %v", err)
	}
}

func TestErrors(t *testing.T) {
	tree, outside := hostile(t)
	_, err := tree.ReadFile("dir/missing", 0)
	if want := "read /dir/missing: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	_, err = tree.ReadFile("loop/x", 0)
	wantError(t, err, unix.ELOOP, "/loop/x")
	_, err = tree.ReadFile("dir/file/x", 0)
	wantError(t, err, unix.ENOTDIR, "/dir/file/x")
	_, err = tree.ReadFile("nul\x00byte", 0)
	wantError(t, err, unix.EINVAL, "/nul")
	_, err = tree.Stat(strings.Repeat("x/", 4000))
	wantError(t, err, unix.ENAMETOOLONG, "/x/x")
	err = tree.Rename("dir/missing", "other")
	if want := "rename /dir/missing /other: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	for _, name := range []string{"", "/", ".", "..", "dir/..", "up/..", "dir/."} {
		wantError(t, tree.Remove(name, true), unix.EINVAL, name)
		wantError(t, tree.Symlink("x", name), unix.EINVAL, name)
		wantError(t, tree.Mkdir(name, 0o755, false), unix.EINVAL, name)
		wantError(t, tree.Rename(name, "other"), unix.EINVAL, name)
		wantError(t, tree.Rename("dir/file", name), unix.EINVAL, name)
	}
	// No error tells where the root is on the host.
	_, err = tree.ReadDir("missing")
	if strings.Contains(err.Error(), filepath.Dir(outside)) {
		t.Errorf("error %q shows a host path", err)
	}
}

// Magic links lead wherever they like, so they are refused, also below "/".
func TestMagicLinks(t *testing.T) {
	tree := open(t, "/")
	for _, name := range []string{"proc/self/root/etc", "proc/self/cwd", "proc/self/fd/0"} {
		_, err := tree.Stat(name)
		wantError(t, err, unix.ELOOP, name)
	}
	if data, err := tree.ReadFile("/proc/self/comm", 0); len(data) == 0 || err != nil {
		t.Errorf("a file that stat calls empty: %q, %v", data, err)
	}
}
