package rootless

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEnterKeepsWhatTheCallerGave(t *testing.T) {
	eachUser(t, func(t *testing.T, as *user.User) {
		cmd := testCommand(t, as, "report", "one", "two words", "")
		cmd.Dir = "/usr"
		cmd.Stdin = strings.NewReader("input")
		third, err := os.CreateTemp(t.TempDir(), "third")
		if err != nil {
			t.Fatal(err)
		}
		defer third.Close()
		fmt.Fprint(third, "third")
		_, _ = third.Seek(0, io.SeekStart)
		cmd.ExtraFiles = []*os.File{third}
		r, res := inReport(t, cmd)
		if want := []string{"the-program", "one", "two words", ""}; fmt.Sprint(r.Args) != fmt.Sprint(want) || len(r.Args) != 4 {
			t.Errorf("arguments are %q, want %q", r.Args, want)
		}
		if r.Dir != "/usr" || r.Input != "input" || r.Third != "third" {
			t.Errorf("directory %q, input %q, descriptor 3 %q", r.Dir, r.Input, r.Third)
		}
		if r.Asked {
			t.Errorf("%s is still set", leaveName)
		}
		if r.Isolation != "" {
			t.Errorf("BUILDAH_ISOLATION is %q, want it untouched", r.Isolation)
		}
		if res.stderr != "" && !strings.Contains(res.stderr, "one ID") {
			t.Errorf("standard error: %q", res.stderr)
		}
	})
}

func TestEnterNamespaces(t *testing.T) {
	eachUser(t, func(t *testing.T, as *user.User) {
		cmd := testCommand(t, as, "report")
		r, _ := inReport(t, cmd)
		if soon, _ := inReport(t, early(testCommand(t, as, "report"))); soon.UIDMap != r.UIDMap || soon.GIDMap != r.GIDMap || soon.User != r.User {
			t.Errorf("under its usual name the program is in %+v, else in %+v", soon, r)
		}
		out := look()
		if r.UID != 0 {
			t.Errorf("user ID inside is %d, want 0", r.UID)
		}
		if r.MntNS == out.MntNS {
			t.Error("the mount namespace is the old one")
		}
		uid := os.Getuid()
		if as != nil {
			uid, _ = strconv.Atoi(as.Uid)
		}
		if ordinary := uid != 0; ordinary != (r.UserNS != out.UserNS) {
			t.Errorf("user namespace %s outside, %s inside, for user %d", out.UserNS, r.UserNS, uid)
		}
		if r.PID != cmd.Process.Pid {
			t.Errorf("process %d is inside, %d was started", r.PID, cmd.Process.Pid)
		}
		if want := uid != 0 || r.Nested; r.Rootless != want {
			t.Errorf("the libraries take it for rootless: %v, want %v", r.Rootless, want)
		}
		if r.User != uid || r.Nested && uid != 0 {
			t.Errorf("User %d, Nested %v; want %d", r.User, r.Nested, uid)
		}
		if got := format(r.UIDs); got != strings.Join(strings.Fields(r.UIDMap), " ") {
			t.Errorf("UIDs are %s, the kernel says %s", got, r.UIDMap)
		}
		if got := format(r.GIDs); got != strings.Join(strings.Fields(r.GIDMap), " ") {
			t.Errorf("GIDs are %s, the kernel says %s", got, r.GIDMap)
		}
		if r.SingleID != (r.Reason != "") || r.SingleID != (r.Cure != "") {
			t.Errorf("SingleID %v, Reason %q, Cure %q", r.SingleID, r.Reason, r.Cure)
		}
	})
}

func format(maps []IDMap) string {
	var words []string
	for _, m := range maps {
		words = append(words, fmt.Sprint(m.ContainerID, m.HostID, m.Size))
	}
	return strings.Join(words, " ")
}

func TestEnterAgainInside(t *testing.T) {
	eachUser(t, func(t *testing.T, as *user.User) {
		once, _ := inReport(t, testCommand(t, as, "report"))
		twice, res := inReport(t, testCommand(t, as, "again"))
		if twice.UIDMap != once.UIDMap || twice.GIDMap != once.GIDMap {
			t.Errorf("maps are %s and %s, want %s and %s", twice.UIDMap, twice.GIDMap, once.UIDMap, once.GIDMap)
		}
		if twice.User != once.User {
			t.Errorf("User is %d, want %d", twice.User, once.User)
		}
		if want := once.User != 0; twice.Nested != want && !once.Nested {
			t.Errorf("Nested is %v, want %v", twice.Nested, want)
		}
		if strings.Count(res.stderr, "note: only one ID") > 2 {
			t.Errorf("notes: %s", res.stderr)
		}
	})
}

func TestEnterStatus(t *testing.T) {
	eachUser(t, func(t *testing.T, as *user.User) {
		_, _ = inReport(t, testCommand(t, as, "report"))
		for mode, want := range map[string]int{"seven": 7, "terminate": 128 + 15} {
			if res := finish(t, testCommand(t, as, mode)); res.status != want {
				t.Errorf("%s: status %d, want %d", mode, res.status, want)
			}
		}
	})
}

func TestSignalsArrive(t *testing.T) {
	for _, s := range []syscall.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
	} {
		t.Run(s.String(), func(t *testing.T) {
			eachUser(t, func(t *testing.T, as *user.User) {
				cmd := testCommand(t, as, "count")
				detach(cmd)
				out, _ := startReady(t, cmd, "ready")
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
				if got, _ := out.ReadString('\n'); got != "got "+s.String()+"\n" {
					t.Errorf("inside: %q", got)
				}
			})
		})
	}
}

// detach puts cmd into a session without a terminal.
func detach(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
}

func TestEnterLeavesIgnoredSignalsAlone(t *testing.T) {
	cmd := testCommand(t, nil, "ignorehup,wait")
	detach(cmd)
	_, line := startReady(t, cmd, "ready")
	inner, err := strconv.Atoi(strings.Fields(line)[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	for _, pid := range []int{cmd.Process.Pid, inner} {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatalf("process %d is gone: %v", pid, err)
		}
		for line := range strings.Lines(string(status)) {
			if mask, ok := strings.CutPrefix(line, "SigIgn:"); ok && !strings.HasSuffix(strings.TrimSpace(mask), "1") {
				t.Errorf("process %d doesn't ignore SIGHUP: %s", pid, line)
			}
		}
	}
}

// TestNothingIsLeftBehind looks for the process that waits outside, once the program is inside, has been killed before it
// got there, or has ended without.
func TestNothingIsLeftBehind(t *testing.T) {
	eachUser(t, func(t *testing.T, as *user.User) {
		inside := testCommand(t, as, "wait")
		startReady(t, inside, "ready")
		if left, err := children(inside.Process.Pid); left != "" || err != nil {
			t.Errorf("children of the process inside: %s, %v", left, err)
		}
		for _, mode := range []string{"stay", "forget"} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd := early(testCommand(t, as, mode))
			cmd.ExtraFiles = []*os.File{w} // open in every process of the program's, unless it closes it
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			late.Stop()
			w.Close()
			if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%s: %v, want the end of the pipe", mode, err)
			}
			r.Close()
		}
	})
}

// early makes leave.c act at once, as it does for the program's usual name.
func early(cmd *exec.Cmd) *exec.Cmd {
	cmd.Args[0] = "/somewhere/rlbuild"
	return cmd
}

// children returns the IDs of the processes that the main thread of a process has started.
func children(pid int) (string, error) {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	return strings.TrimSpace(string(list)), err
}

func TestMountsStayInside(t *testing.T) {
	eachUser(t, func(t *testing.T, as *user.User) {
		dir, err := os.MkdirTemp("/tmp", "rootless-test-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(dir)
		if as != nil {
			uid, _ := strconv.Atoi(as.Uid)
			if err := os.Chown(dir, uid, -1); err != nil {
				t.Fatal(err)
			}
		}
		mode := "mount"
		if os.Getuid() == 0 && as == nil {
			mode = "shared,mount" // a machine without systemd may have nothing shared, and nothing would leak
		}
		cmd := testCommand(t, as, mode, dir)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		startReady(t, cmd, "mounted")
		if outside, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(outside), dir) {
			t.Errorf("%s is mounted outside as well (%v)", dir, err)
		}
		inside, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", cmd.Process.Pid))
		if err != nil || !strings.Contains(string(inside), dir) {
			t.Errorf("%s is not mounted inside (%v)", dir, err)
		}
		if strings.Contains(string(inside), " shared:") { // proc_pid_mountinfo(5)
			t.Errorf("mounts inside are shared:\n%s", inside)
		}
		stdin.Close()
	})
}
