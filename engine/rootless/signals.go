package rootless

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// catchSignals starts to collect the signals that are the inner process's business. relay begins to pass them to it, with
// those collected so far; stop ends both.
func catchSignals() (stop func(), relay func(*os.Process)) {
	received := make(chan os.Signal, 32)
	for _, s := range []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
	} {
		// One that the caller ignores, as nohup and a shell's "&" do, stays ignored in both processes.
		if !signal.Ignored(s) {
			signal.Notify(received, s)
		}
	}
	done := make(chan struct{})
	stop = func() {
		signal.Stop(received)
		close(done)
	}
	relay = func(child *os.Process) {
		go func() {
			for {
				select {
				case s := <-received:
					if !fromTerminal(s, child.Pid) {
						_ = child.Signal(s) // it can only have ended, and that is being waited for
					}
				case <-done:
					return
				}
			}
		}()
	}
	return stop, relay
}

// fromTerminal reports whether the child has had this signal already: the terminal's interrupt and quit keys send theirs
// to the whole foreground process group, and the child is in ours unless it took the terminal for itself. A signal of
// the same number that another process sends to this one alone can't be told from it and is dropped with it while we are
// in the foreground: a second interrupt often means "at once", so one too many is worse.
func fromTerminal(s os.Signal, child int) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return false // no controlling terminal
	}
	defer tty.Close()
	foreground, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return false
	}
	group, err := unix.Getpgid(child)
	return err == nil && group == foreground
}
