package rootfs_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"golang.org/x/sys/unix"
)

func TestStat(t *testing.T) {
	tree, _ := hostile(t)
	info, err := tree.Lstat("todir")
	if info.Link != "/dir" || info.Mode.Type() != os.ModeSymlink || err != nil {
		t.Errorf("Lstat(link) = %+v, %v", info, err)
	}
	info, err = tree.Stat("todir")
	if info.Link != "" || !info.Mode.IsDir() || err != nil {
		t.Errorf("Stat(link) = %+v, %v", info, err)
	}
	info, err = tree.Lstat("todir/file")
	if info.Bits() != 0o644 || info.UID != os.Getuid() || info.GID != os.Getgid() ||
		time.Since(info.ModTime) > time.Hour || err != nil {
		t.Errorf("Lstat(file) = %+v, %v", info, err)
	}
	if info, err = tree.Lstat("/"); !info.Mode.IsDir() || err != nil {
		t.Errorf("Lstat(root) = %+v, %v", info, err)
	}
	if info, err = tree.Lstat("absolute"); info.Mode.Type() != os.ModeSymlink || err != nil {
		t.Errorf("Lstat(dangling) = %+v, %v", info, err)
	}
	target, err := tree.Readlink("loop")
	if target != "loop" || err != nil {
		t.Errorf("Readlink = %q, %v", target, err)
	}
	_, err = tree.Readlink("dir")
	wantError(t, err, unix.EINVAL, "/dir: is a directory, not a link")
}

func TestReadFileLimit(t *testing.T) {
	tree, _ := hostile(t)
	for limit, ok := range map[int64]bool{-1: true, 0: true, 5: false, 6: true, 7: true, 1 << 40: true} {
		data, err := tree.ReadFile("dir/file", limit)
		if ok && (string(data) != "inside" || err != nil) {
			t.Errorf("limit %d: %q, %v", limit, data, err)
		}
		if !ok {
			wantError(t, err, nil, "/dir/file: is longer than 5 bytes")
		}
	}
}

// Nothing but a regular file is opened: a pipe with no other end would block for ever.
func TestSpecialFiles(t *testing.T) {
	tree, _ := hostile(t)
	must(t, unix.Mkfifo(filepath.Join(tree.Dir(), "pipe"), 0o666))
	socket, err := net.Listen("unix", filepath.Join(tree.Dir(), "socket"))
	must(t, err)
	defer socket.Close()
	must(t, tree.Symlink("/pipe", "topipe"))

	done := make(chan struct{})
	go func() {
		defer close(done)
		for name, kind := range map[string]string{"pipe": "named pipe", "topipe": "named pipe", "socket": "socket"} {
			want := name + ": is a " + kind + ", not a regular file"
			_, err := tree.ReadFile(name, 0)
			wantError(t, err, nil, want)
			wantError(t, tree.WriteFile(name, nil, rootfs.Write{}), nil, want)
			wantError(t, tree.WriteFile(name, nil, rootfs.Write{Append: true}), nil, want)
			_, err = tree.ReadDir(name)
			wantError(t, err, unix.ENOTDIR, name)
		}
		_, err := tree.ReadFile("dir", 0)
		wantError(t, err, unix.EISDIR, "/dir")
		wantError(t, tree.WriteFile("dir", nil, rootfs.Write{}), unix.EISDIR, "/dir")
		_, err = open(t, "/dev").ReadFile("null", 0)
		wantError(t, err, nil, "/null: is a device, not a regular file")
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("blocked on a special file")
	}
	for _, name := range []string{"pipe", "topipe"} {
		must(t, tree.Chmod(name, 0o600)) // the object is not opened for this either
	}
	must(t, tree.Remove("pipe", false))
}

func TestReadDir(t *testing.T) {
	tree, _ := hostile(t)
	for _, name := range []string{"c", ".hidden", "a b"} {
		must(t, tree.WriteFile("dir/"+name, nil, rootfs.Write{}))
	}
	names, err := tree.ReadDir("todir/")
	if want := []string{".hidden", "a b", "c", "file"}; !slices.Equal(names, want) || err != nil {
		t.Errorf("ReadDir = %q, %v; want %q", names, err, want)
	}
}

func TestResolveMissing(t *testing.T) {
	tree, _ := hostile(t)
	_, err := tree.Resolve("dir/missing")
	wantError(t, err, os.ErrNotExist, "/dir/missing")
}

func TestGlob(t *testing.T) {
	tree, outside := hostile(t)
	for _, name := range []string{"usr/lib/a.so", "usr/lib/x86/b.so", "usr/lib/x86/.c.so", "usr/bin/[", "usr/bin/tool"} {
		must(t, tree.Mkdir(filepath.Dir(name), 0o755, true))
		must(t, tree.WriteFile(name, nil, rootfs.Write{}))
	}
	must(t, tree.Symlink("usr/lib", "lib"))
	// Each of these doubles the number of paths per level when ** follows links.
	must(t, tree.Symlink(".", "usr/again"))
	must(t, tree.Symlink("..", "usr/lib/more"))
	for pattern, want := range map[string][]string{
		"usr/lib/*.so":       {"usr/lib/a.so"},
		"/usr/lib/*.so":      {"usr/lib/a.so"},
		"":                   {"."},
		"/":                  {"."},
		"./usr//./lib/*.so":  {"usr/lib/a.so"},
		"usr/*/":             {"usr/bin", "usr/lib"},
		"./usr/lib/a.so":     {"usr/lib/a.so"},
		"usr/**/*.so":        {"usr/lib/a.so", "usr/lib/x86/.c.so", "usr/lib/x86/b.so"},
		"usr/*/{tool,a.so}":  {"usr/bin/tool", "usr/lib/a.so"},
		"usr/{bin,b*}/t??l":  {"usr/bin/tool"},
		"usr/bin/[s-u]*":     {"usr/bin/tool"},
		`usr/bin/\[`:         {"usr/bin/["},
		"lib/*.so":           {"lib/a.so"},
		"slash/lib/x86/b*":   {"slash/lib/x86/b.so"},
		"l*":                 {"lib", "loop"},
		"l*/a.so":            nil, // a link that a wildcard found isn't followed
		"missing/*":          nil,
		"usr/bin/tool/*":     nil,
		"absolute/*":         nil,
		"parent/**":          nil,
		outside + "/*":       nil,
		"usr/lib/x86/**/b.*": {"usr/lib/x86/b.so"},
	} {
		names, err := tree.Glob(pattern)
		if !slices.Equal(names, want) || err != nil {
			t.Errorf("Glob(%q) = %q, %v; want %q", pattern, names, err, want)
		}
	}
	for _, pattern := range []string{"usr/../*", "../*", "..", "/.."} {
		_, err := tree.Glob(pattern)
		wantError(t, err, nil, `a pattern can't hold ".."`)
	}
	_, err := tree.Glob("usr/[")
	wantError(t, err, nil, "glob /usr/[: syntax error in pattern")
	_, err = tree.Glob("loop/*")
	wantError(t, err, unix.ELOOP, "/loop")
	if os.Getuid() != 0 { // root reads every directory
		must(t, tree.Chmod("usr/lib/x86", 0))
		_, err = tree.Glob("usr/**/*.so")
		wantError(t, err, os.ErrPermission, "/usr/lib/x86")
		must(t, tree.Chmod("usr/lib/x86", 0o755))
	}
}
