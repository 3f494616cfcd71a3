package rootless

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rlbuild/rlbuild/engine/failure"
	"go.podman.io/storage/pkg/reexec"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// modeName is the environment variable that makes the test binary one of the programs below instead.
const modeName = "RLBUILD_TEST_MODE"

func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	mode := os.Getenv(modeName)
	if mode == "" {
		os.Exit(m.Run())
	}
	first, rest, _ := strings.Cut(mode, ",")
	if prepare := preparations[first]; prepare != nil {
		// Sets something that lasts through exec, and goes on as the next program.
		runtime.LockOSThread()
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "preparing", first, err)
			os.Exit(99)
		}
		os.Setenv(modeName, rest)
		err := syscall.Exec("/proc/self/exe", os.Args, os.Environ())
		fmt.Fprintln(os.Stderr, "exec", err)
		os.Exit(99)
	}
	os.Exit(inside(mode))
}

// inside enters and does what mode says.
func inside(mode string) int {
	switch mode {
	case "stay":
		Stay()
		if left, err := children(os.Getpid()); left != "" || err != nil {
			fmt.Fprintln(os.Stderr, "children:", left, err)
			return 1
		}
		return 0
	case "forget":
		return 0
	}
	ns, err := Enter(Options{Note: func(line string) { fmt.Fprintln(os.Stderr, "note:", line) }})
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\nhint: %s\n", err, failure.HintOf(err))
		return failure.Status(err)
	}
	return programs[mode](ns)
}

// report is what a program inside sees.
type report struct {
	Namespace
	Args           []string
	Dir            string
	Input          string
	PID, UID       int
	Rootless       bool
	UserNS, MntNS  string
	Home, Runtime  string
	Asked          bool
	Isolation      string
	Third          string // content of file descriptor 3, if it is open
	UIDMap, GIDMap string
}

var programs = map[string]func(*Namespace) int{
	"report": func(ns *Namespace) int {
		input, _ := io.ReadAll(os.Stdin)
		r := look()
		third, _ := io.ReadAll(os.NewFile(3, "3"))
		r.Third = string(third)
		r.Namespace, r.Input = *ns, string(input)
		_ = json.NewEncoder(os.Stdout).Encode(r)
		return 0
	},
	"seven":     func(*Namespace) int { return 7 },
	"terminate": func(*Namespace) int { _ = unix.Kill(os.Getpid(), unix.SIGTERM); select {} },
	"again": func(*Namespace) int {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), modeName+"=report")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode()
	},
	"limited": func(*Namespace) int {
		// The limit is that of this namespace; dropping the capability makes the next Enter want another one.
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 99
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), modeName+"=unprivileged,report")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode()
	},
	"mount": func(*Namespace) int {
		dir := os.Args[len(os.Args)-1]
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 99
		}
		fmt.Println("mounted")
		_, _ = io.ReadAll(os.Stdin)
		return 0
	},
	"count": func(*Namespace) int {
		caught := make(chan os.Signal, 8)
		signal.Notify(caught, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
		fmt.Println("ready")
		var names []string
		end := time.After(20 * time.Second)
		for {
			select {
			case s := <-caught:
				names = append(names, s.String())
				end = time.After(300 * time.Millisecond) // for a second one of the same
			case <-end:
				fmt.Println("got", strings.Join(names, ", "))
				return 0
			}
		}
	},
	"wait": func(*Namespace) int {
		fmt.Println("ready", os.Getpid())
		select {}
	},
}

// look collects what doesn't come from Enter.
func look() report {
	r := report{Args: os.Args, PID: os.Getpid(), UID: os.Getuid(), Rootless: unshare.IsRootless(), Home: os.Getenv("HOME"), Runtime: os.Getenv("XDG_RUNTIME_DIR")}
	r.Dir, _ = os.Getwd()
	r.UserNS, _ = os.Readlink("/proc/self/ns/user")
	r.MntNS, _ = os.Readlink("/proc/self/ns/mnt")
	_, r.Asked = os.LookupEnv(leaveName)
	r.Isolation = os.Getenv("BUILDAH_ISOLATION")
	uids, _ := os.ReadFile("/proc/self/uid_map")
	gids, _ := os.ReadFile("/proc/self/gid_map")
	r.UIDMap, r.GIDMap = string(uids), string(gids)
	return r
}

var preparations = map[string]func() error{
	"nonewprivs": func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) },
	"unprivileged": func() error {
		return unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0)
	},
	"shared": func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		return unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")
	},
	"ignorehup": func() error { signal.Ignore(unix.SIGHUP); return nil },
	"filter":    func() error { return refuse(unix.CLONE_NEWUSER | unix.CLONE_NEWNS) },
}

// refuse installs a system call filter under which unshare(2), and clone(2) with any of flags, fail: what a container's
// default profile does.
func refuse(flags uint32) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		anyBit = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	program := []unix.SockFilter{
		{Code: load, K: 0}, // seccomp_data.nr
		{Code: equal, K: unix.SYS_UNSHARE, Jt: 3},
		{Code: equal, K: unix.SYS_CLONE, Jf: 3},
		{Code: load, K: 16}, // seccomp_data.args[0]
		{Code: anyBit, K: flags, Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	return installFilter(program)
}

// result is how a program ended.
type result struct {
	stdout, stderr string
	status         int // as a shell has it
}

// testCommand returns the test binary as a program of that mode, outside of the module's directory.
func testCommand(t *testing.T, as *user.User, mode string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "the-program"
	cmd.WaitDelay = 20 * time.Second // a process left behind keeps the pipes open
	cmd.Dir = "/"
	home := t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), modeName + "=" + mode, "HOME=" + home, "TMPDIR=/tmp"}
	if as != nil {
		uid, _ := strconv.Atoi(as.Uid)
		gid, _ := strconv.Atoi(as.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		cmd.Env = append(cmd.Env, "HOME="+as.HomeDir)
	}
	return cmd
}

// finish runs cmd and returns how it ended. Where namespaces are refused the test is skipped, or fails if
// RLBUILD_REQUIRE_NAMESPACES says so.
func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := result{stdout: out.String(), stderr: errs.String(), status: cmd.ProcessState.ExitCode()}
	if end := cmd.ProcessState.Sys().(syscall.WaitStatus); end.Signaled() {
		r.status = 128 + int(end.Signal())
	}
	t.Logf("status %d, standard error: %s", r.status, r.stderr)
	return r
}

// inReport runs cmd, which ends as report, and returns what it says.
func inReport(t *testing.T, cmd *exec.Cmd) (report, result) {
	t.Helper()
	res := finish(t, cmd)
	if res.status == 3 {
		unavailable(t, res.stderr)
	}
	var r report
	if err := json.Unmarshal([]byte(res.stdout), &r); err != nil {
		t.Fatalf("status %d: %v\n%s\n%s", res.status, err, res.stdout, res.stderr)
	}
	return r, res
}

// unavailable ends a test that needs what this machine refuses.
func unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("RLBUILD_REQUIRE_NAMESPACES") == "1" {
		t.Fatalf("namespaces are required: %s", why)
	}
	t.Skipf("no namespaces here: %s", why)
}

// eachUser runs test as the current user and, when that is root and RLBUILD_TEST_USER names one, as an ordinary user too.
func eachUser(t *testing.T, test func(t *testing.T, as *user.User)) {
	t.Run("self", func(t *testing.T) { test(t, nil) })
	name := os.Getenv("RLBUILD_TEST_USER")
	if os.Getuid() != 0 || name == "" {
		return
	}
	t.Run("user", func(t *testing.T) {
		as, err := user.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		test(t, as)
	})
}

// ordinary runs test as an ordinary user, or skips it when there is none.
func ordinary(t *testing.T, test func(t *testing.T, as *user.User)) {
	eachUser(t, func(t *testing.T, as *user.User) {
		if os.Getuid() == 0 && as == nil {
			t.Skip("for an ordinary user: run the test as one, or name one in RLBUILD_TEST_USER")
		}
		test(t, as)
	})
}

// startReady starts cmd and returns its output once it has said that it is ready.
func startReady(t *testing.T, cmd *exec.Cmd, word string) (*bufio.Reader, string) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	reader := bufio.NewReader(out)
	line, err := reader.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, word) {
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() == 3 {
			unavailable(t, errs.String())
		}
		t.Fatalf("got %q, %v, %s", line, err, errs.String())
	}
	return reader, strings.TrimSpace(line)
}
