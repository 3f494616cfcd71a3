package rootless

import (
	"bufio"
	"fmt"
	"os"
	"os/user"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTerminalKeysArriveOnce types the interrupt and quit keys at a program that has the terminal, which sends its signal
// to every process of the foreground group.
func TestTerminalKeysArriveOnce(t *testing.T) {
	for key, want := range map[string]string{"\x03": "got interrupt", "\x1c": "got quit"} {
		t.Run(want, func(t *testing.T) {
			eachUser(t, func(t *testing.T, as *user.User) {
				master, slave := terminal(t)
				cmd := testCommand(t, as, "count")
				if cmd.SysProcAttr == nil {
					cmd.SysProcAttr = &syscall.SysProcAttr{}
				}
				cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
				cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				slave.Close()
				defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
				_ = master.SetReadDeadline(time.Now().Add(20 * time.Second))
				lines := bufio.NewScanner(master)
				for lines.Scan() {
					switch line := strings.TrimSpace(lines.Text()); {
					case line == "ready":
						if _, err := master.WriteString(key); err != nil {
							t.Fatal(err)
						}
					case strings.HasPrefix(line, "error:"):
						unavailable(t, line)
					case strings.Contains(line, "got "):
						if !strings.HasSuffix(line, want) {
							t.Errorf("%q, want %q", line, want)
						}
						return
					}
				}
				t.Errorf("no answer: %v", lines.Err())
			})
		})
	}
}

// terminal returns both ends of a new pseudo-terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip(err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	return master, slave
}
