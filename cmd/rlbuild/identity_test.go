package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestNobodyAsksWhoItIsTooEarly counts who asks for the user and group before main: in the namespace that the process is in
// by then they aren't mapped yet, so a package that remembers the answer is wrong about it until the end. The first
// geteuid and getegid are leave.c's, before it goes there; getuid is that of buildah's copier, which engine puts right.
func TestNobodyAsksWhoItIsTooEarly(t *testing.T) {
	want := map[int32]int{unix.SYS_GETEUID: 1, unix.SYS_GETEGID: 1, unix.SYS_GETUID: 1}
	calls := make(chan map[int32]int, 1)
	go func() {
		// Never unlocked: the filter stays with this thread, and with what it starts, and ends with the goroutine.
		runtime.LockOSThread()
		calls <- identityCalls(t, exec.Command("rlbuild", "version"))
	}()
	if got := <-calls; got != nil && fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("calls by number: %v, want %v; run it under strace to see whose they are", got, want)
	}
}

// identityCalls runs cmd and counts its calls that ask for IDs, by number. It returns nil where it can't.
func identityCalls(t *testing.T, cmd *exec.Cmd) map[int32]int {
	listener, err := listen(unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID)
	if err != nil {
		t.Logf("no listener for system calls: %v", err)
		return nil
	}
	counts := map[int32]int{}
	ended := make(chan struct{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer unix.Close(listener)
		for serve(t, listener, counts) {
			select {
			case <-ended:
				return
			default:
			}
		}
	}()
	output, err := cmd.CombinedOutput()
	close(ended)
	<-served
	if err != nil {
		t.Errorf("%v: %s", err, output)
	}
	return counts
}

// serve waits a moment for a call, counts it and lets it go on. It returns false when that fails.
func serve(t *testing.T, listener int, counts map[int32]int) bool {
	ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, int(20*time.Millisecond/time.Millisecond)); n == 0 || err == unix.EINTR {
		return true
	}
	// The kernel's seccomp_notif and seccomp_notif_resp.
	var call struct {
		id         uint64
		pid, flags uint32
		number     int32
		rest       [60]byte
	}
	var answer struct {
		id, value    uint64
		error, flags uint32
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&call))); errno != 0 {
		t.Errorf("receiving: %v", errno)
		return false
	}
	counts[call.number]++
	answer.id, answer.flags = call.id, unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer))); errno != 0 {
		t.Errorf("answering: %v", errno)
		return false
	}
	return true
}

// listen has this thread, and what it starts, wait for an answer at each of these system calls.
func listen(numbers ...uint32) (int, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // seccomp_data.nr
	for _, number := range numbers {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&filter)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
