package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unignoring are tests whose commands begin with no signal ignored.
type unignoring struct{ *testing.M }

// Run catches what is ignored below a shell's & or nohup: an ignored signal stays ignored in the commands, a caught one doesn't.
// Background commands are ended by an interruption, and waited for without limit. (SIGQUIT Go's runtime catches in any case.)
func (u unignoring) Run() int {
	for _, number := range []os.Signal{syscall.SIGINT, syscall.SIGHUP} {
		if signal.Ignored(number) {
			signal.Notify(make(chan os.Signal, 1), number)
		}
	}
	return u.M.Run()
}

// What signalMain exits with when the command didn't do what was wanted; no command of the suite exits with these.
const (
	signalUsage    = 90
	signalTimeout  = 91 // it didn't end
	signalEarly    = 92 // it ended before it was where it should be
	signalOrphans  = 93 // it left processes behind
	signalUnserved = 94 // the signal ended it, instead of an exit with a status
	signalLate     = 95 // it took longer than it may
)

// signalled is a command that is sent a signal.
type signalled struct {
	mode   string        // "group", "tty", or "" for the process alone
	when   string        // a file that has to be there before the signal is sent
	until  string        // a shell's command that has to succeed before
	after  time.Duration // to wait then
	times  int           // how often it is sent, one after the other
	within time.Duration
	number syscall.Signal
	seen   *regexp.Regexp
	argv   []string
}

// signalMain is a command for the scripts: `signal [-group|-tty] [-when FILE] [-until SHELL] [-after TIME] [-times N] [-within TIME]
// NAME PATTERN COMMAND...` starts the command, waits until a line of its output matches (if PATTERN isn't empty), until FILE is
// there, until the line SHELL of a shell succeeds, and for the TIME of -after, sends the signal, and exits with the command's
// status. A command that may not have come to catching signals yet is ended by them: wait for something that it does. With -group the whole process group gets the signal, as from `kill -- -PGID`; with -tty the command has
// a terminal, and INT is typed there as Ctrl-C, QUIT as Ctrl-\. With -times the signal is sent again and again, 20 ms apart.
//
// How long the command took to end is printed. It fails the test only when it is more than -within, which is generous:
// a second is what rlbuild takes on a machine that has nothing else to do, and the machines of tests have a lot to do.
func signalMain() {
	var s signalled
	flags := flag.NewFlagSet("signal", flag.ContinueOnError)
	group := flags.Bool("group", false, "")
	tty := flags.Bool("tty", false, "")
	flags.StringVar(&s.when, "when", "", "")
	flags.StringVar(&s.until, "until", "", "")
	flags.DurationVar(&s.after, "after", 0, "")
	flags.IntVar(&s.times, "times", 1, "")
	flags.DurationVar(&s.within, "within", 20*time.Second, "")
	err := flags.Parse(os.Args[1:])
	args := flags.Args()
	if err != nil || len(args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: signal [-group|-tty] [-when FILE] [-until SHELL] [-after TIME] [-times N] [-within TIME] NAME PATTERN COMMAND...")
		os.Exit(signalUsage)
	}
	switch {
	case *group:
		s.mode = "group"
	case *tty:
		s.mode = "tty"
	}
	s.number, s.seen, s.argv = unix.SignalNum("SIG"+args[0]), regexp.MustCompile(args[1]), args[2:]
	status, err := s.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "signal:", err)
	}
	os.Exit(status)
}

func (s *signalled) run() (int, error) {
	// Ignored signals stay ignored in the command, and a shell's background commands begin with such; caught ones don't.
	stops := make(chan os.Signal, 1)
	signal.Notify(stops, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM)
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	mark := fmt.Sprintf("RLBUILD_TEST_RUN=%d-%d", os.Getpid(), time.Now().UnixNano())
	cmd.Env = append(os.Environ(), mark)
	var terminal *os.File
	if s.mode == "tty" {
		var err error
		if terminal, cmd.Stdin, err = openTerminal(); err != nil {
			return signalUsage, err
		}
		defer terminal.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	}
	seen := make(chan struct{})
	var once sync.Once
	if s.seen.String() == "" {
		once.Do(func() { close(seen) })
	}
	copying, err := copyOutput(cmd, func(line string) {
		if s.seen.MatchString(line) {
			once.Do(func() { close(seen) })
		}
	})
	if err != nil {
		return signalUsage, err
	}
	if err := cmd.Start(); err != nil {
		return signalUsage, err
	}
	group := cmd.Process.Pid
	defer func() { _ = syscall.Kill(-group, syscall.SIGKILL) }()
	go func() {
		stop := <-stops // who ends this command ends that one: it is in a group of its own
		_ = syscall.Kill(-group, syscall.SIGKILL)
		os.Exit(128 + int(stop.(syscall.Signal)))
	}()
	ended := make(chan error, 1)
	go func() {
		copying.Wait()
		ended <- cmd.Wait()
	}()
	if status, err := s.await(seen, ended); err != nil {
		return status, err
	}
	took, err := s.sendAll(group, terminal, ended)
	if err != nil {
		return signalTimeout, err
	}
	fmt.Fprintf(os.Stderr, "signal: ended after %.2fs\n", took.Seconds())
	switch {
	case s.number == syscall.SIGKILL && orphans(group, ""), s.number != syscall.SIGKILL && orphans(group, mark): // who is killed can't clean up
		return signalOrphans, errors.New("processes were left behind")
	case !cmd.ProcessState.Exited():
		return signalUnserved, fmt.Errorf("ended by the signal itself: %v", cmd.ProcessState)
	case took > s.within:
		return signalLate, fmt.Errorf("took longer than %v to end", s.within)
	}
	return cmd.ProcessState.ExitCode(), nil
}

// await waits until the command is where the signal is to find it.
func (s *signalled) await(seen <-chan struct{}, ended <-chan error) (status int, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(60 * time.Second)
	for there := false; ; {
		select {
		case <-seen:
			seen, there = nil, true
		case <-ended:
			return signalEarly, errors.New("the command ended before it was where it should be")
		case <-late:
			return signalTimeout, errors.New("the pattern or the file was not seen in 60 seconds")
		case <-tick.C:
		}
		if there && s.ready() {
			select {
			case <-ended:
				return signalEarly, errors.New("the command ended before it was where it should be")
			case <-time.After(s.after):
				return 0, nil
			}
		}
	}
}

// ready tells whether the file is there and the shell's command succeeds.
func (s *signalled) ready() bool {
	return (s.when == "" || exists(s.when)) && (s.until == "" || exec.Command("sh", "-c", s.until).Run() == nil)
}

// sendAll sends the signals and returns how long after the first one the command had ended.
func (s *signalled) sendAll(group int, terminal *os.File, ended <-chan error) (time.Duration, error) {
	start := time.Now()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	late := time.After(60 * time.Second)
	for sent := 0; ; {
		if sent < s.times {
			sent++
			if err := s.send(group, terminal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return 0, err
			}
		}
		select {
		case <-ended:
			return time.Since(start), nil
		case <-late:
			return 0, errors.New("the command did not end within 60 seconds of the signal")
		case <-again.C:
		}
	}
}

func (s *signalled) send(group int, terminal *os.File) error {
	keys := map[syscall.Signal]byte{syscall.SIGINT: 3, syscall.SIGQUIT: 28}
	switch {
	case s.mode == "group":
		return syscall.Kill(-group, s.number)
	case s.mode == "tty" && keys[s.number] != 0:
		_, err := terminal.Write([]byte{keys[s.number]})
		return err
	default:
		return syscall.Kill(group, s.number)
	}
}

// orphans reports whether the process group, or any process with the mark in its environment, still lives some seconds on. The
// last of them may outlive the leader by the time the kernel needs for its end, and all of them sleep for longer. Host commands and rlbuild's own helpers have
// the mark, in whatever group they are; a container's steps have an environment of their own. No mark looks at the group alone.
func orphans(group int, mark string) bool {
	for range 200 {
		if !alive(group) && len(marked(mark)) == 0 {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	return true
}

// marked returns the processes that this user may look at and that have the mark, NAME=VALUE, in the environment they were started
// with. The empty mark is nobody's.
func marked(mark string) (pids []int) {
	if mark == "" {
		return nil
	}
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is a good one
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environ, []byte(mark+"\x00")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killMarked kills the processes with the mark, and those that they start meanwhile, for some seconds.
func killMarked(mark string) {
	for range 200 {
		pids := marked(mark)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// alive reports whether a process group has a member that isn't a zombie: those wait for init, which may take its time. The first
// thread of a process that is being killed can be one before the others are.
func alive(group int) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat") // the pattern is a good one
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		// "PID (name) state ppid pgrp …", and the name may hold anything: proc_pid_stat(5)
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 2 && fields[2] == strconv.Itoa(group) && fields[0] != "Z" && fields[0] != "X" {
			return true
		}
	}
	return false
}

// copyOutput passes a command's output on and shows each line to see. The copying ends when nobody holds the pipes.
func copyOutput(cmd *exec.Cmd, see func(line string)) (*sync.WaitGroup, error) {
	var copying sync.WaitGroup
	for _, stream := range []struct {
		open func() (io.ReadCloser, error)
		to   io.Writer
	}{{cmd.StdoutPipe, os.Stdout}, {cmd.StderrPipe, os.Stderr}} {
		pipe, err := stream.open()
		if err != nil {
			return nil, err
		}
		copying.Go(func() {
			lines := bufio.NewReader(pipe)
			for {
				line, err := lines.ReadString('\n')
				_, _ = io.WriteString(stream.to, line)
				see(strings.TrimSuffix(line, "\n"))
				if err != nil {
					return
				}
			}
		})
	}
	return &copying, nil
}

// openTerminal returns both ends of a new pseudo-terminal.
func openTerminal() (control, terminal *os.File, err error) {
	control, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, fmt.Errorf("unlocking the terminal: %w", err)
	}
	number, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, nil, fmt.Errorf("asking for the terminal's number: %w", err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	return control, terminal, err
}
