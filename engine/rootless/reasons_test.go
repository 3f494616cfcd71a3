package rootless

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rlbuild/rlbuild/engine/failure"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

func TestEnterWithoutHelpers(t *testing.T) {
	ordinary(t, func(t *testing.T, as *user.User) {
		cmd := testCommand(t, as, "report")
		cmd.Env = append(cmd.Env, "PATH=/nonexistent")
		r, res := inReport(t, cmd)
		if !r.SingleID || !strings.Contains(r.Reason, "newuidmap isn't installed") || !strings.Contains(r.Cure, "uidmap") {
			t.Errorf("SingleID %v, Reason %q, Cure %q", r.SingleID, r.Reason, r.Cure)
		}
		if lines := strings.Count(res.stderr, "\n"); lines != 1 || !strings.HasPrefix(res.stderr, "note: only one ID is mapped") {
			t.Errorf("want one note, got %s", res.stderr)
		}
	})
}

func TestEnterWithUselessHelpers(t *testing.T) {
	ordinary(t, func(t *testing.T, as *user.User) {
		for name, c := range map[string]struct {
			mode uint32 // as chmod(2) takes it
			want string
		}{
			"no setuid bit": {0o755, "neither setuid root nor has the file capability"},
			"refuses":       {0o4755, "running newuidmap: exit status 1"},
		} {
			t.Run(name, func(t *testing.T) {
				bin := helpers(t, as, c.mode)
				cmd := testCommand(t, as, "report")
				cmd.Env = append(cmd.Env, "PATH="+bin)
				r, res := inReport(t, cmd)
				if !r.SingleID || !strings.Contains(r.Reason, c.want) {
					t.Errorf("SingleID %v, Reason %q, want %q", r.SingleID, r.Reason, c.want)
				}
				if strings.Count(res.stderr, "\n") != 1 || strings.Contains(res.stderr, "level=") {
					t.Errorf("want one note and nothing of the library's, got %s", res.stderr)
				}
			})
		}
	})
}

// helpers makes a directory with a newuidmap and a newgidmap that do nothing but fail.
func helpers(t *testing.T, as *user.User, mode uint32) string {
	t.Helper()
	if os.Getuid() != 0 && mode&unix.S_ISUID != 0 {
		t.Skip("only root makes setuid root programs")
	}
	dir, err := os.MkdirTemp("/tmp", "rootless-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile("/bin/false")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"newuidmap", "newgidmap"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, program, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil && st.Flags&unix.ST_NOSUID != 0 && as != nil {
		t.Skip("/tmp is mounted nosuid")
	}
	return dir
}

func TestEnterUnderNoNewPrivs(t *testing.T) {
	ordinary(t, func(t *testing.T, as *user.User) {
		r, _ := inReport(t, testCommand(t, as, "nonewprivs,report"))
		if !r.SingleID {
			t.Fatal("more than one ID is mapped")
		}
		if _, err := exec.LookPath("newuidmap"); err == nil && !strings.Contains(r.Reason, "no_new_privs") {
			t.Errorf("Reason is %q", r.Reason)
		}
	})
}

func TestEnterAsRootWithoutPrivilege(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("for root")
	}
	r, _ := inReport(t, testCommand(t, nil, "unprivileged,report"))
	uids, gids, err := unshare.GetHostIDMappings("")
	if err != nil {
		t.Fatal(err)
	}
	if r.UserNS == look().UserNS || len(r.UIDs) != len(uids) || len(r.GIDs) != len(gids) {
		t.Errorf("namespace %s, maps %v and %v; want a new one with %v and %v", r.UserNS, r.UIDs, r.GIDs, uids, gids)
	}
	for _, m := range append(r.UIDs, r.GIDs...) {
		if m.ContainerID != m.HostID {
			t.Errorf("%v maps IDs to other ones", m)
		}
	}
	if r.SingleID {
		t.Error("SingleID is set")
	}
}

func TestEnterRefusedByTheLimit(t *testing.T) {
	ordinary(t, func(t *testing.T, as *user.User) {
		_, _ = inReport(t, testCommand(t, as, "report"))
		res := finish(t, testCommand(t, as, "limited"))
		refusedWith(t, res, "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces")
	})
}

func TestEnterRefusedByAFilter(t *testing.T) {
	eachUser(t, func(t *testing.T, as *user.User) {
		res := finish(t, testCommand(t, as, "filter,report"))
		refusedWith(t, res, "seccomp", "--security-opt seccomp=unconfined")
	})
}

// refusedWith checks that a program said why it couldn't enter, what to do, and nothing else.
func refusedWith(t *testing.T, res result, why, cure string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(res.stderr), "\n")
	for len(lines) > 0 && strings.HasPrefix(lines[0], "note: ") {
		lines = lines[1:]
	}
	if res.status != 3 || len(lines) != 2 || !strings.Contains(lines[0], why) || !strings.Contains(lines[1], cure) {
		t.Errorf("status %d, %q; want 3, %q and %q", res.status, lines, why, cure)
	}
}

func TestRuntimeDir(t *testing.T) {
	ordinary(t, func(t *testing.T, as *user.User) {
		for name, c := range map[string]struct{ stated, note string }{
			"unset":     {"", ""},
			"another's": {"/", "belongs to another user"},
			"missing":   {"/nonexistent/run", "doesn't exist"},
			"not a dir": {"/dev/null", "isn't a directory"},
			"closed":    {"/root/run", ""}, // not there for some, hidden from others
		} {
			t.Run(name, func(t *testing.T) {
				cmd := testCommand(t, as, "report")
				cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+c.stated)
				r, res := inReport(t, cmd)
				if r.Runtime == "" || r.Runtime == c.stated {
					t.Errorf("XDG_RUNTIME_DIR is %q", r.Runtime)
				}
				if !strings.Contains(res.stderr, c.note) || c.stated != "" && strings.Count(res.stderr, "XDG_RUNTIME_DIR") != 1 {
					t.Errorf("note is %q, want %q", res.stderr, c.note)
				}
			})
		}
	})
}

func TestHome(t *testing.T) {
	ordinary(t, func(t *testing.T, as *user.User) {
		cmd := testCommand(t, as, "report")
		cmd.Env = append(cmd.Env, "HOME=")
		if as == nil {
			var err error
			if as, err = user.Current(); err != nil {
				t.Skip(err)
			}
		}
		if r, _ := inReport(t, cmd); r.Home != as.HomeDir {
			t.Errorf("HOME is %q, want %q", r.Home, as.HomeDir)
		}
	})
}

// TestOutsideThatHangs has nobody answer: the wait ends, and so does what was waited for.
func TestOutsideThatHangs(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[1])
	hung := exec.Command("sleep", "600")
	if err := hung.Start(); err != nil {
		t.Fatal(err)
	}
	o := &outside{pid: hung.Process.Pid, socket: ends[0]}
	o.hurry(20 * time.Millisecond)
	_, _, err = o.do([]errand{execute("/usr/bin/newuidmap", "newuidmap")})
	if err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("got %v", err)
	}
	o.dismiss()
	told := explain(caller{uid: 1000}, true, err)
	if !strings.HasPrefix(told.Error(), "mapping IDs: ") || failure.Status(told) != 3 || !strings.Contains(failure.HintOf(told), "nsswitch") {
		t.Errorf("told %v, hint %q", told, failure.HintOf(told))
	}
}
