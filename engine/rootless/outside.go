package rootless

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// setupFailed is the status with which the library's set-up code ends a process that it can't move.
const setupFailed = 1

// depart starts the program inside, waits for it and returns the status to exit with. An error means that it never got
// as far as Enter.
func depart() (int, error) {
	me, err := whoAmI()
	if err != nil {
		return 0, err
	}
	plan := me.plan()

	stderr, stderrInside, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("making a pipe: %w", err)
	}
	defer stderr.Close()
	stateInside, state, err := os.Pipe()
	if err != nil {
		stderrInside.Close()
		return 0, fmt.Errorf("making a pipe: %w", err)
	}
	defer state.Close()

	cmd := command(plan, stateInside, stderrInside)
	stop, relay := catchSignals()
	defer stop()
	warnings, err := start(cmd, plan)
	stderrInside.Close()
	stateInside.Close()
	said := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(stderr)
		said <- text
	}()
	if err != nil {
		if status := exitStatus(cmd.ProcessState); status > 128 && status != 128+int(syscall.SIGKILL) {
			return status, nil // the terminal's interrupt key; SIGKILL is how the library cleans up
		}
		return 0, explain(me, plan, <-said, err)
	}
	relay(cmd.Process)

	if len(warnings) > 0 {
		plan.reason, plan.cure = helperRefused(me, warnings[0])
	}
	// The inner process may be dead already; then the write fails, and the missing mark below tells.
	_ = json.NewEncoder(state).Encode(letter{Reason: plan.reason, Cure: plan.cure, User: me.outside, Nested: me.nested})
	state.Close()

	text, entered := bytes.CutSuffix(<-said, []byte{enteredMark})
	if entered {
		_, _ = os.Stderr.Write(text)
	}
	err = cmd.Wait()
	status := exitStatus(cmd.ProcessState)
	if !entered && status == setupFailed {
		return 0, explain(me, plan, text, err)
	}
	if !entered { // the program itself ended before it came to Enter
		_, _ = os.Stderr.Write(text)
	}
	return status, nil
}

// command returns the program itself as a command, not started. stateInside and stderrInside are the inner ends of the
// two pipes.
//
// Standard error is a pipe at first and the real one comes along as another file: the library's set-up code and the Go
// runtime write to descriptor 2 when something fails, and the user is to get a sentence with a cure instead.
func command(plan plan, stateInside, stderrInside *os.File) *unshare.Cmd {
	cmd := unshare.Command(os.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, stderrInside
	cmd.ExtraFiles = append(inherited(), stateInside, os.Stderr)
	last := 2 + len(cmd.ExtraFiles)
	cmd.Env = append(os.Environ(), ticket{state: last - 1, stderr: last}.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if plan.user {
		cmd.UnshareFlags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
		cmd.UidMappings, cmd.GidMappings = plan.uids, plan.gids
		cmd.UseNewuidmap, cmd.UseNewgidmap = plan.helpers, plan.helpers
		cmd.GidMappingsEnableSetgroups = plan.setgroups
	} else {
		// Not Unshareflags, with which Go would make every mount private: mounts made outside later are to be seen.
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
	}
	return cmd
}

// start starts cmd and returns what the library had to say about helpers that failed: it goes on with one ID then.
func start(cmd *unshare.Cmd, plan plan) ([]string, error) {
	if !plan.user {
		return nil, cmd.Cmd.Start()
	}
	logger := logrus.StandardLogger()
	out, level := logger.Out, logger.GetLevel()
	heard := &warnings{}
	hooks := logger.ReplaceHooks(logrus.LevelHooks{logrus.WarnLevel: {heard}})
	logger.SetOutput(io.Discard)
	logger.SetLevel(logrus.WarnLevel)
	defer func() {
		logger.ReplaceHooks(hooks)
		logger.SetOutput(out)
		logger.SetLevel(level)
	}()
	err := cmd.Start()
	return heard.lines, err
}

// warnings is a logrus hook that keeps what it hears.
type warnings struct{ lines []string }

func (*warnings) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

func (w *warnings) Fire(entry *logrus.Entry) error {
	w.lines = append(w.lines, strings.Join(strings.Fields(entry.Message), " "))
	return nil
}

// exitStatus returns what a shell would make of a process's end, -1 if it never started.
func exitStatus(state *os.ProcessState) int {
	if state == nil {
		return -1
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// inherited returns the files above standard error that the caller left open for this process to pass on, each at its
// own number less 3 and nil between them: what os/exec adds for its own use must not land on them. A shell's
// "rlbuild <(generate)" is such a file.
func inherited() []*os.File {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	var files []*os.File
	for _, entry := range entries {
		var fd int
		if _, err := fmt.Sscan(entry.Name(), &fd); err != nil || fd < 3 {
			continue
		}
		// What Go opens itself, this listing included, is closed on exec.
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		for len(files) <= fd-3 {
			files = append(files, nil)
		}
		files[fd-3] = os.NewFile(uintptr(fd), entry.Name())
	}
	return files
}

// errNotEntered stands for an inner process that ended without a word about it.
var errNotEntered = errors.New("the process inside ended before it had entered")

// cause picks the best text for a failure nobody recognised: what the set-up code said, else the error.
func cause(said []byte, err error) error {
	if text := strings.Join(strings.Fields(string(said)), " "); text != "" {
		return errors.New(text)
	}
	if exit := (*exec.ExitError)(nil); err == nil || errors.As(err, &exit) {
		return errNotEntered
	}
	return err
}
