package rootfs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"golang.org/x/sys/unix"
)

func TestLookupOwner(t *testing.T) {
	tree, outside := hostile(t)
	must(t, tree.Mkdir("etc", 0o755, false))
	_, _, err := tree.LookupOwner("web", "")
	wantError(t, err, fs.ErrNotExist, `looking up user "web": read /etc/passwd`)
	must(t, tree.WriteFile("usr.passwd", []byte("root:x:0:0::/root:/bin/sh\n"+
		"#web:x:1:1\nshort:x\nweb:x:101:102:Web:/:/bin/sh\r\n"+
		"web:x:7:7\n"+
		"broken:x:zero:0\nempty:x::0\nnegative:x:-1:0\nleave:x:4294967295:0\nbig:x:4294967294:0\n"), rootfs.Write{}))
	must(t, tree.Symlink("/usr.passwd", "etc/passwd"))
	must(t, tree.WriteFile("etc/group", []byte("root:x:0:\nwww:x:33:web,root"), rootfs.Write{}))

	for _, test := range []struct {
		user, group string
		uid, gid    int
	}{
		{"", "", -1, -1},
		{"web", "", 101, -1},
		{"", "www", -1, 33},
		{"web", "www", 101, 33},
		{"12", "034", 12, 34},
		{"big", "4294967294", 4294967294, 4294967294},
	} {
		uid, gid, err := tree.LookupOwner(test.user, test.group)
		if uid != test.uid || gid != test.gid || err != nil {
			t.Errorf("LookupOwner(%q, %q) = %d, %d, %v", test.user, test.group, uid, gid, err)
		}
	}
	for user, want := range map[string]string{
		"nobody":     `/etc/passwd has no user "nobody"`,
		"www":        `/etc/passwd has no user "www"`,
		"short":      `/etc/passwd has no user "short"`,
		"web:x":      `/etc/passwd has no user "web:x"`,
		"broken":     `looking up user "broken" in /etc/passwd: ID "zero" is not a number`,
		"empty":      `ID "" is not a number`,
		"negative":   `ID "-1" is not a number`,
		"leave":      `ID "4294967295" is not a number from 0 to 4294967294`,
		"4294967295": `user ID "4294967295" is not a number`,
	} {
		_, _, err := tree.LookupOwner(user, "")
		wantError(t, err, nil, want)
	}
	// An image can't have the host's accounts read for its own.
	must(t, tree.Remove("etc/passwd", false))
	must(t, tree.Symlink("../../../../"+outside+"/secret", "etc/passwd"))
	_, _, err = tree.LookupOwner("web", "")
	wantError(t, err, fs.ErrNotExist, "/etc/passwd")
}

// Chown with other IDs than one's own takes root; TestInNamespace runs what an ordinary user can.
func TestChown(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may give files away")
	}
	tree, outside := hostile(t)
	must(t, tree.Symlink(outside, "dir/out"))
	owner := func(name string) [2]int {
		t.Helper()
		info, err := tree.Lstat(name)
		must(t, err)
		return [2]int{info.UID, info.GID}
	}

	must(t, tree.Chown("todir", 12, -1, false))
	if got := owner("dir"); got != [2]int{12, 0} {
		t.Errorf("dir is owned by %v", got)
	}
	if got := owner("todir"); got != [2]int{0, 0} {
		t.Errorf("the link is owned by %v, want its target changed", got)
	}
	if got := owner("dir/file"); got != [2]int{0, 0} {
		t.Errorf("dir/file is owned by %v after a chown that isn't recursive", got)
	}
	must(t, tree.Chown("todir", 12, 34, true))
	for _, name := range []string{"dir", "dir/file", "dir/out"} {
		if got := owner(name); got != [2]int{12, 34} {
			t.Errorf("%s is owned by %v", name, got)
		}
	}
	wantError(t, tree.Chown("absolute", 1, 1, true), fs.ErrNotExist, "/absolute")
}

// What has the owner already isn't touched: any chown(2) would clear the setuid bit, root's too.
func TestChownUnchanged(t *testing.T) {
	tree, _ := hostile(t)
	must(t, tree.Chmod("dir/file", 0o4755))
	must(t, tree.Chown("dir", os.Getuid(), -1, true))
	must(t, tree.Chown("dir/file", os.Getuid(), os.Getgid(), false))
	if got := modeOf(t, tree, "dir/file"); got != 0o4755 {
		t.Errorf("mode %o, want 4755", got)
	}
}

// A device is not opened to change it or to find out what it is.
func TestDevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may make devices")
	}
	tree, _ := hostile(t)
	// 0x5a5a has no driver: opening the node would fail with ENXIO.
	if err := unix.Mknod(filepath.Join(tree.Dir(), "device"), unix.S_IFCHR|0o600, 0x5a5a); err != nil {
		t.Skip("no device nodes here: ", err)
	}
	_, err := tree.ReadFile("device", 0)
	wantError(t, err, nil, "/device: is a device, not a regular file")
	wantError(t, tree.WriteFile("device", nil, rootfs.Write{}), nil, "/device: is a device, not a regular file")
	must(t, tree.Chmod("device", 0o640))
	must(t, tree.Chown("device", 1, 1, true))
	must(t, tree.Remove("device", false))
}
