package rootfs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// FuzzNames does everything with a hostile name in a tree that holds a hostile link. Whatever they are, nothing
// panics, nothing outside is read or changed (hostile compares), and what comes back as a name stays inside.
func FuzzNames(f *testing.F) {
	for _, seed := range [][2]string{
		{"dir/file", "x"}, {"../outside", "../outside/secret"}, {"link/../../outside/secret", "/"}, {"link/link/new", ".."},
		{"/", "link"}, {"", "/proc/self/root"}, {"link", "../outside/created"}, {"dir/{file,../*}", "dir"},
		{"**/secret", "../outside"},
		{"up/absolute/../../secret", "up/parent/sub/.."}, {"link//./", "todir/new/"}, {"a\x00b", "\\["},
		{"link/sub/secret", "chain"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, name, target string) {
		tree, _ := hostile(t)
		_ = tree.Symlink(target, "link")
		useEverywhere(t, tree, name)
		_ = tree.Remove(name, true)
		if _, err := os.Lstat(tree.Dir()); err != nil {
			t.Errorf("the root itself: %v", err)
		}
	})
}

func useEverywhere(t *testing.T, tree *rootfs.FS, name string) {
	mode := fs.FileMode(0o777)
	_ = tree.Mkdir(name, mode, true)
	_ = tree.WriteFile(name, []byte("inside"), rootfs.Write{Mode: &mode})
	_ = tree.WriteFile(name+"/new", []byte("inside"), rootfs.Write{Append: true})
	_ = tree.Chmod(name, mode)
	_ = tree.Chown(name, os.Getuid(), os.Getgid(), true)
	_ = tree.Symlink("../outside", name+"/symlink")
	_ = tree.Rename("dir/file", name)
	for _, name := range []string{name, name + "/secret", name + "/symlink/secret"} {
		if data, _ := tree.ReadFile(name, 1<<20); strings.Contains(string(data), secret) {
			t.Errorf("read %q outside", name)
		}
	}
	if _, err := tree.Stat(name); err == nil {
		if got, err := tree.Resolve(name); err == nil && !filepath.IsLocal(got) {
			t.Errorf("Resolve(%q) = %q", name, got)
		}
	}
	names, _ := tree.Glob(name)
	for _, match := range names {
		if !filepath.IsLocal(match) || filepath.Clean(match) != match {
			t.Errorf("Glob(%q) = %q", name, match)
		}
	}
	if entries, err := tree.ReadDir(name); err == nil {
		for _, entry := range entries {
			if entry == "" || strings.Contains(entry, "/") {
				t.Errorf("ReadDir(%q) holds %q", name, entry)
			}
		}
	}
}
