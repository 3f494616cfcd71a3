package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/journal"
)

// AwaitedLock returns the path of a lock file that this process waits for because another one has it locked, or "". The
// library waits for its locks in the kernel, where nothing can call it back.
func AwaitedLock() string {
	calls, _ := filepath.Glob("/proc/self/task/[0-9]*/syscall") // the pattern is a good one
	for _, name := range calls {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // the thread is gone, or the kernel doesn't tell
		}
		var number, file, command int
		// "NUMBER ARGUMENT…", in hexadecimal behind the number, or "running": proc_pid_syscall(5)
		n, _ := fmt.Sscanf(string(text), "%d 0x%x 0x%x", &number, &file, &command)
		if n < 3 || number != unix.SYS_FCNTL || command != unix.F_SETLKW {
			continue
		}
		// Not opened: to close it would give up every lock this process has on it (F_SETLK in fcntl(2)).
		if path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file)); err == nil && filepath.Ext(path) == ".lock" {
			return path
		}
	}
	return ""
}

// Holder returns who has a file locked: "process 4711 (podman)", or "another process".
func Holder(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "another process"
	}
	holders, _ := journal.LockHolders("POSIX", info.Sys().(*syscall.Stat_t).Ino) // none is as good
	for _, pid := range holders {
		if name, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil {
			return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
		}
	}
	return "another process"
}
