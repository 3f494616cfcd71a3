package engine

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is the user's own terminal. Nil is none.
type Terminal struct {
	In  *os.File // nil if the standard input isn't one: then nobody can type
	Out *os.File
}

// interactive tells whether a command can be connected to it both ways.
func (t *Terminal) interactive() bool { return t != nil && t.In != nil && t.Out != nil }

// size returns how large it is, or what terminals have been since the VT100.
func (t *Terminal) size() *unix.Winsize {
	if t != nil {
		for _, end := range []*os.File{t.Out, t.In} {
			if end == nil {
				continue
			}
			if size, err := unix.IoctlGetWinsize(int(end.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 0 && size.Col > 0 {
				return &unix.Winsize{Row: size.Row, Col: size.Col}
			}
		}
	}
	return &unix.Winsize{Row: 24, Col: 80}
}

// makeRaw makes the user's terminal pass on every key, Ctrl-C included, to whom the command's own terminal means something
// else by it, and leave the output as it is. Nothing happens for nil. restoreTerminal ends that.
func (b *Builder) makeRaw(t *Terminal) error {
	if t == nil {
		return nil
	}
	fd := int(t.In.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("reading the terminal's modes: %w", err)
	}
	raw := *before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETSW, &raw); err != nil {
		return fmt.Errorf("making the terminal raw: %w", err)
	}
	b.cooked = sync.OnceValue(func() error {
		if err := unix.IoctlSetTermios(fd, unix.TCSETSW, before); err != nil {
			return fmt.Errorf("restoring the terminal: %w", err)
		}
		return nil
	})
	return nil
}

// restoreTerminal gives the user's terminal the modes it had, if makeRaw has changed them.
func (b *Builder) restoreTerminal() error {
	if b.cooked == nil {
		return nil
	}
	return b.cooked()
}

// typist passes on what the user types, until it is stopped: nothing that he types after the command's end is taken.
type typist struct {
	to   sink
	wake *os.File // closed to stop it
	done chan struct{}
	size chan os.Signal // of the user's terminal has changed
}

func newTypist(user *Terminal, to sink) *typist {
	t := &typist{to: to, done: make(chan struct{}), size: make(chan os.Signal, 1)}
	stopped, wake, err := os.Pipe()
	if err != nil {
		close(t.done)
		return t // the command has a terminal at which nobody types
	}
	t.wake = wake
	signal.Notify(t.size, syscall.SIGWINCH)
	go func() {
		for range t.size {
			if raw, err := to.SyscallConn(); err == nil && !to.pipe { // the library's terminal keeps the size it had
				_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, user.size()) })
			}
		}
	}()
	go func() {
		defer close(t.done)
		defer stopped.Close()
		t.copy(int(user.In.Fd()), int(stopped.Fd()))
	}()
	return t
}

func (t *typist) copy(from, stopped int) {
	buffer := make([]byte, 4096)
	for {
		ready := []unix.PollFd{{Fd: int32(from), Events: unix.POLLIN}, {Fd: int32(stopped), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err == unix.EINTR {
			continue
		} else if err != nil || ready[1].Revents != 0 {
			return
		}
		n, err := unix.Read(from, buffer)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		if _, err := t.to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (t *typist) stop() {
	if t == nil {
		return
	}
	signal.Stop(t.size)
	close(t.size)
	if t.wake != nil {
		t.wake.Close()
	}
	_ = t.to.SetWriteDeadline(time.Now()) // a command that doesn't read may have it blocked
	<-t.done
	t.to.finish()
}

// openTerminal returns both ends of a new pseudo-terminal of that size.
func openTerminal(size *unix.Winsize) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening /dev/ptmx: %w", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
		if err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size); err == nil {
			// By the master, not by a name: /dev/pts may be another instance's.
			var peer uintptr
			var errno syscall.Errno
			peer, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
			if errno == 0 {
				return master, os.NewFile(peer, "terminal"), nil
			}
			err = errno
		}
	}
	master.Close()
	return nil, nil, fmt.Errorf("making a pseudo-terminal: %w", err)
}
