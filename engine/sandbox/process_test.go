package sandbox_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"go.podman.io/storage/pkg/idmap"
	"go.podman.io/storage/pkg/idtools"

	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// atTerminal runs a step with a terminal and returns what it printed there, lines ended as everywhere else.
func atTerminal(t *testing.T, s *sandbox.Step) string {
	t.Helper()
	printed := make(chan string, 1)
	s.Stdin = nil
	s.Terminal = &sandbox.Terminal{Size: &unix.Winsize{Row: 33, Col: 101}, Opened: func(master *os.File) {
		go func() {
			defer master.Close()
			data, _ := io.ReadAll(master) // EIO when nobody has the terminal any more
			printed <- string(data)
		}()
	}}
	state, err := s.Run(t.Context())
	must(t, err)
	text := strings.ReplaceAll(<-printed, "\r\n", "\n")
	if !state.Success() {
		t.Errorf("%v: %s", state, text)
	}
	return text
}

// The terminal is the step's controlling one, the only one in its /dev/pts, and its user's.
func TestTerminal(t *testing.T) {
	for _, uid := range []uint32{0, 1000} {
		s := newStep(t, newRoot(t), "tty; stty size; for n in 0 1 2; do test -t $n && echo $n; done; echo direct > /dev/tty; "+
			"stat -c %u $(tty); ls -1 /dev/pts; test -c /dev/console && echo console; cut -d ' ' -f 7 /proc/self/stat")
		s.User = sandbox.User{UID: uid, GID: uid}
		want := fmt.Sprintf("/dev/pts/0\n33 101\n0\n1\n2\ndirect\n%d\n0\nptmx\nconsole\n%d\n", uid, 136<<8)
		if text := atTerminal(t, s); text != want {
			t.Errorf("user %d: %q, want %q", uid, text, want)
		}
	}
}

// With a terminal, too, the step has the three streams and nothing else: not the other end.
func TestTerminalDescriptors(t *testing.T) {
	fd, err := unix.Open(secret(t), unix.O_RDONLY, 0)
	must(t, err)
	defer unix.Close(fd)
	if text := atTerminal(t, newStep(t, newRoot(t), "for n in $(seq 0 100); do test ! -e /proc/$$/fd/$n || echo $n; done")); text != "0\n1\n2\n" {
		t.Errorf("open: %q", text)
	}
}

// What a step types into its own terminal reaches nobody but itself.
func TestTerminalTyping(t *testing.T) {
	s := newGoStep(t, newRoot(t))
	s.Env = append(s.Env, attemptName+"=TIOCSTI")
	if text := atTerminal(t, s); !strings.Contains(text, "TIOCSTI=") {
		t.Errorf("was not tried: %q", text)
	}
}

// A step that can't be started leaves no terminal open.
func TestTerminalUnused(t *testing.T) {
	s := newStep(t, newRoot(t), "")
	s.Args = []string{"/bin/none"}
	before := descriptors(t)
	s.Terminal = &sandbox.Terminal{Size: &unix.Winsize{}, Opened: func(*os.File) { t.Error("a terminal for nobody") }}
	if _, err := s.Run(t.Context()); err == nil {
		t.Error("it ran")
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, were %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	return len(names)
}

// newUsers makes a user namespace in which 0 to 99 are the caller's IDs from 1 on. That takes more than one mapped ID.
func newUsers(t *testing.T) *sandbox.UserNamespace {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	maps := []idtools.IDMap{{ContainerID: 0, HostID: 1, Size: 100}}
	pid, end, err := idmap.CreateUsernsProcess(maps, maps)
	must(t, err)
	defer end()
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	must(t, err)
	t.Cleanup(func() { file.Close() })
	return &sandbox.UserNamespace{File: file, HostID: func(uid, gid uint32) (uint32, uint32) { return uid + 1, gid + 1 }}
}

func TestUserNamespace(t *testing.T) {
	root := newRoot(t)
	must(t, os.Chown(root+"/tmp", 1, 1))
	must(t, os.Chmod(root+"/tmp", 0o777))
	must(t, os.WriteFile(root+"/etc/hosts", nil, 0o644))
	s := newStep(t, root, "id -u; grep -c '  1  *100$' /proc/self/uid_map; touch /tmp/root; stat -c %u /dev /dev/shm /etc/hosts /tmp/root; "+
		"grep -E '^Cap(Eff|Bnd)' /proc/self/status; echo x >> /etc/hosts && echo written")
	s.Users, s.Files = newUsers(t), []sandbox.File{{Target: "/etc/hosts", Mode: 0o644}}
	want := "0\n1\n0\n0\n0\n0\nCapEff:\t00000000800405fb\nCapBnd:\t00000000800405fb\nwritten\n"
	if code, text := output(t, s); code != 0 || text != want {
		t.Errorf("status %d: %q, want %q", code, text, want)
	}
	owner(t, root+"/tmp/root", 1)

	s = newStep(t, root, "id -u; touch /tmp/user; stat -c %u /tmp/user; for n in $(seq 0 100); do test ! -e /proc/$$/fd/$n || echo $n; done")
	s.Users, s.User = newUsers(t), sandbox.User{UID: 7, GID: 7}
	if code, text := output(t, s); code != 0 || text != "7\n7\n0\n1\n2\n" {
		t.Errorf("status %d: %q", code, text)
	}
	owner(t, root+"/tmp/user", 8)
	s = newStep(t, root, "stat -c %u $(tty)")
	s.Users, s.User = newUsers(t), sandbox.User{UID: 7, GID: 7}
	if text := atTerminal(t, s); text != "7\n" {
		t.Errorf("the terminal belongs to %q", text)
	}
}

func owner(t *testing.T, name string, uid uint32) {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(name, &st))
	if st.Uid != uid {
		t.Errorf("%s belongs to %d, want %d", name, st.Uid, uid)
	}
}

// In a user namespace of its own no capability gives the step power over its mounts, its name or the caller's files, not
// even the ones that would otherwise.
func TestUserNamespacePowerless(t *testing.T) {
	root := newRoot(t)
	must(t, os.WriteFile(root+"/etc/callers", nil, 0o600))
	for _, attempt := range []string{"mount -t tmpfs x /tmp", "umount /proc/keys", "hostname x", "mount -o remount,rw /sys",
		"cat /etc/callers", "chown 5 /etc/callers", "rm /etc/callers"} {
		s := newStep(t, root, attempt)
		s.Users, s.Filter = newUsers(t), nil
		s.Capabilities = append([]string{"CAP_SYS_ADMIN"}, capabilities...)
		if code, text := output(t, s); code == 0 {
			t.Errorf("%s: %q", attempt, text)
		}
	}
}

// Who keeps his groups has the caller's, as they are; else the step's own are all it has.
func TestKeepGroups(t *testing.T) {
	line := "grep ^Groups: /proc/self/status | tr -s '\\t ' ' '"
	own, err := os.ReadFile("/proc/self/status")
	must(t, err)
	want := ""
	for text := range strings.Lines(string(own)) {
		if groups, ok := strings.CutPrefix(text, "Groups:"); ok {
			want = strings.Join(strings.Fields("Groups: "+groups), " ")
		}
	}
	for _, uid := range []uint32{0, 1000} {
		s := newStep(t, newRoot(t), line)
		s.User = sandbox.User{UID: uid, GID: uid, Groups: []uint32{33}, KeepGroups: true}
		if _, text := output(t, s); strings.TrimSpace(text) != want {
			t.Errorf("user %d: kept %q, want %q", uid, text, want)
		}
		s.User.KeepGroups = false
		if _, text := output(t, s); strings.TrimSpace(text) != "Groups: 33" {
			t.Errorf("user %d: %q", uid, text)
		}
	}
}
