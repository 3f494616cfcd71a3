package reach

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootless/rootlesstest"
)

func TestMain(m *testing.M) {
	rootlesstest.Enter()
	os.Exit(m.Run())
}

// tree makes what the tests look at and returns its top.
func tree(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	for _, dir := range []string{"open/deep"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "open/file"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"around": "open/../open/deep", "absolute": top + "/open/file", "dangling": "nowhere/at/all", "loop": "loop",
	} {
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestFind(t *testing.T) {
	top := tree(t)
	for _, c := range []struct {
		path string
		want uint32
		at   string // the component that refuses, below top; "" for nothing
		says string
	}{
		{path: "open/file", want: Read | Write},
		{path: "around", want: Read | Search},
		{path: "absolute", want: Read},
		{path: "./open//deep/../file", want: Read},
		{path: "open/none/more", want: Read, at: "open/none", says: "doesn't exist"},
		{path: "open/file/more", want: Read, at: "open/file", says: "isn't a directory"},
		{path: "dangling", want: Read, at: "dangling", says: "is a symbolic link to nowhere/at/all, which doesn't exist"},
		{path: "loop", want: Read, at: "loop", says: "too many levels of symbolic links"},
		{path: "open/file", want: Search, at: "open/file", says: "permission denied"},
	} {
		o := Find(top+"/"+c.path, c.want)
		switch {
		case o == nil && c.at == "":
		case o == nil || c.at == "":
			t.Errorf("%s: %v", c.path, o)
		case o.Path != filepath.Join(top, c.at) || !strings.Contains(o.Error(), c.says) || o.Unmapped:
			t.Errorf("%s: %s refuses (%v, unmapped: %v)", c.path, o.Path, o, o.Unmapped)
		}
	}
	if o := Find(top+"/open/none", Read); !errors.Is(o, fs.ErrNotExist) {
		t.Errorf("%v isn't what a missing file gives", o)
	}
}

// Root's own directory belongs to nobody whom an ordinary user's namespace maps.
func TestUnmapped(t *testing.T) {
	if unix.Access("/root", unix.X_OK) == nil {
		t.Skip("root's directory is open to this process")
	}
	o := Find("/root/.profile", Read)
	if o == nil || o.Path != "/root" || !o.Unmapped || !strings.Contains(o.Error(), "a user and a group that isn't mapped") {
		t.Errorf("%v", o)
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		dir, path string
		want      bool
	}{
		{"/a", "/a", true}, {"/a", "/a/b", true}, {"/", "/", true}, {"/", "/a", true},
		{"/a", "/ab", false}, {"/a/b", "/a", false}, {"/a", "/", false},
	} {
		if got := Within(c.dir, c.path); got != c.want {
			t.Errorf("%s within %s: %v", c.path, c.dir, got)
		}
	}
}
