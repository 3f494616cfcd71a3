package sandbox_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// snapshot describes every entry of a tree.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		found[strings.TrimPrefix(name, root)] = fmt.Sprint(info.Mode(), info.ModTime())
		return err
	}))
	return found
}

// After a step that leaves the mount targets alone, the tree is what it was, times included.
func TestTargetsAreRemoved(t *testing.T) {
	root := newRoot(t)
	must(t, os.Symlink("../run/resolve/stub", root+"/etc/resolv.conf")) // as systemd-resolved has it
	long := time.Now().Add(-time.Hour)
	for _, name := range []string{"", "/etc", "/tmp"} {
		must(t, os.Chtimes(root+name, long, long))
	}
	before := snapshot(t, root)
	files, err := rootfs.Open(root)
	must(t, err)
	defer files.Close()
	s := newStep(t, root, "cat /etc/hosts /etc/resolv.conf /run/.containerenv /opt/x/y; echo changed > /etc/hosts")
	for _, name := range []string{"/etc/hosts", "/etc/resolv.conf", "/run/.containerenv", "/opt/x/y"} {
		s.Files = append(s.Files, sandbox.File{Target: name, Content: []byte(name + "\n"), Mode: 0o644})
	}
	targets := sandbox.NewTargets(files)
	must(t, targets.Make(s))
	if names := slices.Sorted(maps.Keys(targets.Parents)); !slices.Equal(names, []string{"etc"}) {
		t.Errorf("noted as copied up: %q", names)
	}
	if code, text := output(t, s); code != 0 || text != "/etc/hosts\n/etc/resolv.conf\n/run/.containerenv\n/opt/x/y\n" {
		t.Errorf("status %d, %q", code, text)
	}
	must(t, targets.Remove())
	if after := snapshot(t, root); !maps.Equal(before, after) {
		t.Errorf("the tree was\n%v\nand is\n%v", before, after)
	}
}

// What the step itself puts next to a mount target stays.
func TestTargetsInUseStay(t *testing.T) {
	root := newRoot(t)
	files, err := rootfs.Open(root)
	must(t, err)
	defer files.Close()
	s := newStep(t, root, "echo mine > /run/mine; mkdir /run/lock")
	s.Files = []sandbox.File{{Target: "/run/.containerenv", Mode: 0o755}}
	targets := sandbox.NewTargets(files)
	must(t, targets.Make(s))
	output(t, s)
	must(t, targets.Remove())
	entries, err := os.ReadDir(root + "/run")
	must(t, err)
	if len(entries) != 2 || entries[0].Name() != "lock" || entries[1].Name() != "mine" {
		t.Errorf("/run holds %v", entries)
	}
}

func TestLoopedTarget(t *testing.T) {
	root := newRoot(t)
	must(t, os.Symlink("hosts", root+"/etc/hosts"))
	files, err := rootfs.Open(root)
	must(t, err)
	defer files.Close()
	s := newStep(t, root, "true")
	s.Files = []sandbox.File{{Target: "/etc/hosts"}}
	if err := sandbox.NewTargets(files).Make(s); err == nil {
		t.Error("a link to itself was accepted")
	}
}

func accounts(t testing.TB, passwd, group string) *rootfs.FS {
	t.Helper()
	root := t.TempDir()
	must(t, os.Mkdir(root+"/etc", 0o755))
	must(t, os.WriteFile(root+"/etc/passwd", []byte(passwd), 0o644))
	must(t, os.WriteFile(root+"/etc/group", []byte(group), 0o644))
	files, err := rootfs.Open(root)
	must(t, err)
	t.Cleanup(func() { files.Close() })
	return files
}

func TestLookupUser(t *testing.T) {
	files := accounts(t, "root:x:0:0:root:/root:/bin/sh\napp:x:1000:100:app:/home/app:/bin/sh\nbad:x:nil:0::/:\nshort:x:1\n",
		"root:x:0:\nusers:x:100:app\nweb:x:33:www,app\nhappy:x:44:xapp\n")
	for _, c := range []struct {
		text string
		want sandbox.User
	}{
		{"", sandbox.User{Home: "/root", Groups: []uint32{0}}},
		{"root", sandbox.User{Home: "/root", Groups: []uint32{0}}},
		{"app", sandbox.User{UID: 1000, GID: 100, Home: "/home/app", Groups: []uint32{100, 33}}},
		{"1000", sandbox.User{UID: 1000, GID: 100, Home: "/home/app", Groups: []uint32{100, 33}}},
		{"app:web", sandbox.User{UID: 1000, GID: 33, Home: "/home/app", Groups: []uint32{33}}},
		{"app:7", sandbox.User{UID: 1000, GID: 7, Home: "/home/app", Groups: []uint32{7}}},
		{"12:34", sandbox.User{UID: 12, GID: 34, Home: "/", Groups: []uint32{34}}},
		{"12", sandbox.User{UID: 12, Home: "/", Groups: []uint32{0}}},
	} {
		got, err := sandbox.LookupUser(files, c.text)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%q: %v, %v, want %v", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"nobody", "bad", "short", "app:none", "-1", "4294967295", "4294967296", "app:4294967295"} {
		if got, err := sandbox.LookupUser(files, text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
