package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	seccomp "github.com/seccomp/libseccomp-golang"
)

// refusingMain is a command for scripts: `refusing CALL[,CALL...] COMMAND...` runs a command under a system call filter that
// answers those calls with EPERM, as a container's profile does. Root's commands keep the way to privileges.
func refusingMain() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: refusing CALL[,CALL...] COMMAND...")
		os.Exit(2)
	}
	runtime.LockOSThread() // the filter is this thread's, and Exec's
	if err := refuseCalls(strings.Split(os.Args[1], ",")); err != nil {
		fmt.Fprintln(os.Stderr, "refusing:", err)
		os.Exit(1)
	}
	path, err := exec.LookPath(os.Args[2])
	if err == nil {
		err = syscall.Exec(path, os.Args[2:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "refusing:", err)
	os.Exit(1)
}

func refuseCalls(names []string) error {
	filter, err := seccomp.NewFilter(seccomp.ActAllow)
	if err != nil {
		return err
	}
	defer filter.Release()
	if err := filter.SetNoNewPrivsBit(os.Geteuid() != 0); err != nil {
		return err
	}
	for _, name := range names {
		call, err := seccomp.GetSyscallFromName(name)
		if err != nil {
			return err
		}
		if err := filter.AddRule(call, seccomp.ActErrno.SetReturnCode(int16(syscall.EPERM))); err != nil {
			return err
		}
	}
	return filter.Load()
}
