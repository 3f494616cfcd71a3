package rootfs_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"golang.org/x/sys/unix"
)

// TestInNamespace runs the tests below as root of a user namespace that maps one ID, with mounts of its own, as
// rlbuild itself may. It needs no privilege.
func TestInNamespace(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestNamespaced", "-test.v")
	cmd.Env = append(os.Environ(), "ROOTFS_TEST_NAMESPACED=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if got := strings.Count(string(output), "--- PASS: TestNamespaced"); got != 3 {
		t.Errorf("%d tests passed in the namespace, want 3\n%s", got, output)
	}
}

func namespaced(t *testing.T) {
	t.Helper()
	if os.Getenv("ROOTFS_TEST_NAMESPACED") == "" {
		t.Skip("TestInNamespace runs it")
	}
}

// What is mounted below the root can be used, but no recursive operation enters it.
func TestNamespacedMountBelow(t *testing.T) {
	namespaced(t)
	tree, outside := hostile(t)
	must(t, tree.Mkdir("tree/mnt", 0o755, true))
	must(t, tree.WriteFile("tree/file", nil, rootfs.Write{}))
	must(t, unix.Mount(outside, filepath.Join(tree.Dir(), "tree/mnt"), "", unix.MS_BIND, ""))
	defer unix.Unmount(filepath.Join(tree.Dir(), "tree/mnt"), unix.MNT_DETACH)
	if got := read(t, tree, "tree/mnt/secret"); got != secret {
		t.Errorf("the mount reads %q", got)
	}
	wantError(t, tree.Chown("tree", 0, 0, true), unix.EXDEV, "/tree/mnt: something is mounted there")
	wantError(t, tree.Rename("tree/mnt/secret", "x"), unix.EXDEV, "rename /tree/mnt/secret /x")
	// The kernel refuses the rmdir before the walk gets there.
	err := tree.Remove("tree", true)
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EXDEV) || !strings.Contains(err.Error(), "/tree/mnt") {
		t.Errorf("removing a tree with a mount: %v", err)
	}
}

// An ID outside the map is refused by the kernel with a bare EINVAL; the error says what it means.
func TestNamespacedUnmappedID(t *testing.T) {
	namespaced(t)
	tree, _ := hostile(t)
	for _, ids := range [][2]int{{1, -1}, {-1, 1}, {70000, 0}} {
		wantError(t, tree.Chown("dir", ids[0], ids[1], true), unix.EINVAL, "is not mapped in this user namespace")
	}
	must(t, tree.Chown("dir", 0, -1, true))
}

// The same operations on overlay, where the file below a link or a directory may come from a lower layer.
func TestNamespacedOverlay(t *testing.T) {
	namespaced(t)
	lower, _ := hostile(t)
	tmp := t.TempDir()
	dirs := map[string]string{}
	must(t, unix.Mount("tmpfs", tmp, "tmpfs", 0, "")) // overlay wants an upper directory that isn't overlay itself
	defer unix.Unmount(tmp, unix.MNT_DETACH)
	for _, name := range []string{"upper", "work", "merged"} {
		dirs[name] = filepath.Join(tmp, name)
		must(t, os.Mkdir(dirs[name], 0o755))
	}
	options := "userxattr,lowerdir=" + lower.Dir() + ",upperdir=" + dirs["upper"] + ",workdir=" + dirs["work"]
	if err := unix.Mount("overlay", dirs["merged"], "overlay", 0, options); err != nil {
		t.Fatal(err) // Linux 5.11 and later let a user namespace do this
	}
	defer unix.Unmount(dirs["merged"], unix.MNT_DETACH)
	before := snapshot(t, lower.Dir())
	tree := open(t, dirs["merged"])
	must(t, tree.WriteFile("todir/file", []byte(" more"), rootfs.Write{Append: true}))
	if got := read(t, tree, "dir/file"); got != "inside more" {
		t.Errorf("dir/file reads %q", got)
	}
	checkModes(t, tree)
	wantError(t, tree.Rename("dir", "moved"), unix.EXDEV, "comes from a layer below")
	must(t, tree.Remove("dir", true))
	must(t, tree.Mkdir("dir", 0o755, false))
	if names, err := tree.ReadDir("dir"); len(names) != 0 || err != nil {
		t.Errorf("the new directory holds %q, %v", names, err)
	}
	if after := snapshot(t, lower.Dir()); after != before {
		t.Errorf("the lower layer was\n%sand is\n%s", before, after)
	}
}
