package engine

import (
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What programs and runtimes say of a program, and what they say of something else.
func TestErrnoOf(t *testing.T) {
	for text, want := range map[string]syscall.Errno{
		`runc create failed: unable to start container process: error during container init: exec: "no-such": executable file not found in $PATH`: unix.ENOENT,
		`runc create failed: unable to start container process: exec: "/x": stat /x: no such file or directory`:                                   unix.ENOENT,
		`runc create failed: unable to start container process: exec: "/etc": is a directory`:                                                     unix.EACCES,
		`runc create failed: unable to start container process: exec: "/x": permission denied`:                                                    unix.EACCES,
		"exec /x: exec format error":                                                                    unix.ENOEXEC,
		"exec /x: no such file or directory":                                                            unix.ENOENT,
		"exec container process `/x`: Exec format error":                                                unix.ENOEXEC,
		"exec container process (missing dynamic library?) `/x`: No such file or directory":             unix.ENOENT,
		"executable file `no-such` not found in $PATH: No such file or directory":                       unix.ENOENT,
		"executable file `/x` not found: No such file or directory":                                     unix.ENOENT,
		"open executable: Permission denied":                                                            unix.EACCES,
		"fork/exec /x: no such file or directory":                                                       unix.ENOENT,
		"from ./runc creating container for [/bin/true]: : fork/exec ./runc: no such file or directory": 0,
		`error mounting "proc" to rootfs at "/proc": mount proc:/proc: permission denied`:               0,
		"mount `/sys` to `sys`: Permission denied":                                                      0,
		"setting up the chroot: open /proc/self/setgroups: no such file or directory":                   0,
		"unable to start container process: unable to apply cgroup: open x: permission denied":          0,
	} {
		if got := errnoOf(errors.New(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}
