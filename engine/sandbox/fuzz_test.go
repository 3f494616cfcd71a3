package sandbox_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// FuzzLookupUser reads an image's /etc/passwd and /etc/group, whatever they hold. A user becomes root only if he is called so or
// has the number, and no ID is the one that the kernel takes for "leave it".
func FuzzLookupUser(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home:\n", "app:x:1000:\nweb:x:33:app,root\n", "app")
	f.Add("a:x:x:0::/:\nb:x:4294967295:0::/:\n::::::\n", "g:x:-1:a\n", "a:g")
	f.Add("app:x:1000:100:app:/home/app:/bin/sh\n", "web:x:33:app\n", "app:web")
	f.Add("app:x::0::/:\n", "web:x:x:app\n", "app")
	f.Add("a:x:99999999999:1::/:\r\n\x00:x:1:1::/:", "", ":")
	f.Fuzz(func(t *testing.T, passwd, group, who string) {
		root := t.TempDir()
		for name, text := range map[string]string{"passwd": passwd, "group": group} {
			must(t, os.MkdirAll(filepath.Join(root, "etc"), 0o755))
			must(t, os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644))
		}
		files, err := rootfs.Open(root)
		must(t, err)
		defer files.Close()
		const leave = 1<<32 - 1
		if u, err := sandbox.LookupUser(files, who); err == nil {
			name, _, _ := strings.Cut(who, ":")
			if u.UID == 0 && name != "" && strings.Trim(name, "0+") != "" && !isRoot(passwd, name) {
				t.Errorf("%q is root by\n%s", who, passwd)
			}
			if u.UID == leave || u.GID == leave || len(u.Groups) == 0 || u.Groups[0] != u.GID {
				t.Errorf("%q is %+v", who, u)
			}
			for i, id := range u.Groups {
				if id == leave || i > 0 && id == u.GID {
					t.Errorf("%q is in the groups %v", who, u.Groups)
				}
			}
		}
		if id, err := sandbox.LookupGroup(files, who); err == nil && id == leave {
			t.Errorf("group %q is %d", who, id)
		}
		if uid, gid, err := files.LookupOwner(who, who); err == nil && (uid < -1 || gid < -1 || uid >= leave || gid >= leave) {
			t.Errorf("owner %q is %d:%d", who, uid, gid)
		}
	})
}

// isRoot tells whether a line of passwd gives the user an ID that is the number 0 however it is written.
func isRoot(text, name string) bool {
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(fields) == 7 && fields[0] == name && strings.Trim(fields[2], "0") == "" {
			return true
		}
	}
	return false
}
