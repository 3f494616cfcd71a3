package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What signalMain exits with when the command didn't do what was wanted; no command of the suite exits with these.
const (
	signalUsage    = 90
	signalTimeout  = 91 // it didn't end
	signalEarly    = 92 // it ended before the pattern was seen
	signalOrphans  = 93 // it left processes behind
	signalUnserved = 94 // the signal ended it, instead of an exit with a status
)

// signalMain is a command for the scripts: `signal [-group|-tty] NAME PATTERN COMMAND...` starts the command, waits until a
// line of its output matches, sends the signal, and exits with the command's status. With -group the whole process group
// gets the signal, as from `kill -- -PGID`; with -tty the command has a terminal, and INT is typed there as Ctrl-C.
func signalMain() {
	args := os.Args[1:]
	mode := ""
	if len(args) > 0 && (args[0] == "-group" || args[0] == "-tty") {
		mode, args = args[0], args[1:]
	}
	if len(args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: signal [-group|-tty] NAME PATTERN COMMAND...")
		os.Exit(signalUsage)
	}
	status, err := signalled(mode, unix.SignalNum("SIG"+args[0]), regexp.MustCompile(args[1]), args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "signal:", err)
	}
	os.Exit(status)
}

func signalled(mode string, number syscall.Signal, pattern *regexp.Regexp, argv []string) (int, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var terminal *os.File
	if mode == "-tty" {
		var err error
		if terminal, cmd.Stdin, err = openTerminal(); err != nil {
			return signalUsage, err
		}
		defer terminal.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	}
	seen := make(chan struct{})
	var once sync.Once
	copying, err := copyOutput(cmd, func(line string) {
		if pattern.MatchString(line) {
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
	ended := make(chan error, 1)
	go func() {
		copying.Wait()
		ended <- cmd.Wait()
	}()

	select {
	case <-seen:
	case <-ended:
		return signalEarly, errors.New("the command ended before the pattern was seen")
	case <-time.After(60 * time.Second):
		return signalTimeout, errors.New("the pattern was not seen in 60 seconds")
	}
	if err := send(mode, group, number, terminal); err != nil {
		return signalUsage, err
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		return signalTimeout, errors.New("the command did not end within 30 seconds of the signal")
	}
	if orphans(group) {
		return signalOrphans, errors.New("processes were left behind")
	}
	if !cmd.ProcessState.Exited() {
		return signalUnserved, fmt.Errorf("ended by the signal itself: %v", cmd.ProcessState)
	}
	return cmd.ProcessState.ExitCode(), nil
}

func send(mode string, group int, number syscall.Signal, terminal *os.File) error {
	switch {
	case mode == "-group":
		return syscall.Kill(-group, number)
	case mode == "-tty" && number == syscall.SIGINT:
		_, err := terminal.Write([]byte{3}) // what Ctrl-C types
		return err
	default:
		return syscall.Kill(group, number)
	}
}

// orphans reports whether the process group still has living members two seconds on. The last of them may outlive the
// leader by the time the kernel needs for its end.
func orphans(group int) bool {
	for range 40 {
		if !alive(group) {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	return true
}

// alive reports whether a process group has a member that isn't a zombie: those wait for init, which may take its time.
func alive(group int) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is a good one
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
			lines := bufio.NewScanner(pipe)
			for lines.Scan() {
				fmt.Fprintln(stream.to, lines.Text())
				see(lines.Text())
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
