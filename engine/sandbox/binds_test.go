package sandbox_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// bound runs a line of shell with binds, in a root that has their targets.
func bound(t *testing.T, root, line string, binds ...sandbox.Bind) (code int, text string) {
	t.Helper()
	files, err := rootfs.Open(root)
	must(t, err)
	defer files.Close()
	s := newStep(t, root, line)
	s.Binds = binds
	s.Files = []sandbox.File{{Target: "/etc/hosts", Content: []byte("ours\n"), Mode: 0o644}}
	targets := sandbox.NewTargets(files)
	must(t, targets.Make(s))
	code, text = output(t, s)
	must(t, targets.Remove())
	return code, text
}

// source makes a directory to bind, with a file in it.
func source(t *testing.T) string {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("shown\n"), 0o644))
	return dir
}

// A bind that another one hides what was made for is shown all the same, whatever their order.
func TestBindsInBinds(t *testing.T) {
	outer, inner := source(t), source(t)
	binds := []sandbox.Bind{
		{Source: inner + "/file", Target: "/share/deep/er/file"}, {Source: inner, Target: "/share/inner", ReadOnly: true},
		{Source: outer, Target: "/share"}, {Source: t.TempDir(), Target: "/etc"},
	}
	line := "cat /share/deep/er/file /share/inner/file /etc/hosts; touch /share/inner/x 2>/dev/null || echo refused; touch /share/x"
	if code, text := bound(t, newRoot(t), line, binds...); code != 0 || text != "shown\nshown\nours\nrefused\n" {
		t.Errorf("status %d, printed %q", code, text)
	}
	if _, err := os.Stat(outer + "/x"); err != nil {
		t.Errorf("the bind isn't the source: %v", err)
	}
}

// Below /dev binds are of the step's own /dev, and those of directories of the kernel's find these.
func TestBindsBelowDev(t *testing.T) {
	dir, root := source(t), newRoot(t)
	line := "cat /dev/shm/file /dev/mine/file /dev/one; test -c /dev/null && echo device; ls /proc/acpi 2>/dev/null | wc -l"
	code, text := bound(t, root, line, sandbox.Bind{Source: dir, Target: "/dev/shm"}, sandbox.Bind{Source: dir, Target: "/dev/mine"},
		sandbox.Bind{Source: dir + "/file", Target: "/dev/one"})
	if code != 0 || text != "shown\nshown\nshown\ndevice\n0\n" {
		t.Errorf("status %d, printed %q", code, text)
	}
	if left, _ := os.ReadDir(root + "/dev"); len(left) > 0 {
		t.Errorf("made in the root's /dev: %v", left)
	}
}

// Links in what is bound lead nowhere but into the root, also when something is to be made where they lead.
func TestHostileBinds(t *testing.T) {
	outside, dir, root := t.TempDir(), t.TempDir(), newRoot(t)
	must(t, os.Symlink("../../../../../../../.."+outside, dir+"/relative"))
	must(t, os.Symlink(outside, dir+"/absolute"))
	must(t, os.Symlink("/proc/self/root"+outside, dir+"/magic"))
	for _, name := range []string{"relative", "absolute", "magic"} {
		s := newStep(t, root, "true")
		must(t, os.MkdirAll(root+"/share", 0o755))
		s.Binds = []sandbox.Bind{{Source: dir, Target: "/share"}, {Source: dir, Target: "/share/" + name + "/made/here"}}
		_, _, err := try(t, s)
		if err == nil {
			t.Errorf("%s: something was mounted", name)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("made outside: %v", left)
	}
}

// What is mounted below a source is as read-only as the source, and private unless the bind is the host's slave.
func TestBindsRecursive(t *testing.T) {
	dir := source(t)
	must(t, os.Mkdir(dir+"/below", 0o755))
	must(t, unix.Mount("tmpfs", dir+"/below", "tmpfs", 0, ""))
	defer func() { must(t, unix.Unmount(dir+"/below", unix.MNT_DETACH)) }()
	line := "touch /share/below/x 2>/dev/null || echo refused; grep ' /share/below ' /proc/self/mountinfo | grep -c -E 'shared|master'"
	if _, text := bound(t, newRoot(t), line, sandbox.Bind{Source: dir, Target: "/share", ReadOnly: true}); text != "refused\n0\n" {
		t.Errorf("printed %q", text)
	}
}
