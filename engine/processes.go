package engine

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// becomeSubreaper makes the kernel hand orphans below this process to it, so that what a step leaves behind can be
// found and ended (PR_SET_CHILD_SUBREAPER, prctl(2)).
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of orphaned processes: %w", err)
	}
	return nil
}

// process identifies one process; its start time guards against a pid that was given out anew.
type process struct {
	pid   int
	start string // clock ticks since boot, field 22 of /proc/PID/stat
}

// descendants lists the living processes below pid. A process that can't be read has just ended.
func descendants(pid int) []process {
	if pid == os.Getpid() && childless() {
		return nil // what most steps leave; reading all of /proc takes milliseconds
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil // no /proc: nothing can be listed
	}
	children := map[int][]process{}
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, p, ok := readStat(id); ok {
			children[parent] = append(children[parent], p)
		}
	}
	var found []process
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for _, p := range children[queue[0]] {
			found = append(found, p)
			queue = append(queue, p.pid)
		}
	}
	return found
}

// childless reports whether this process has no children at all, living or dead. Then nothing is below it either: as the
// subreaper it gets the children of all that end there.
func childless() bool {
	for {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
		if err != unix.EINTR {
			return err == unix.ECHILD
		}
	}
}

// readStat reads /proc/PID/stat; zombies count as gone.
func readStat(pid int) (parent int, p process, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, process{}, false
	}
	// The command's name, in parentheses, may hold spaces and parentheses: fields are counted from the last one.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' {
		return 0, process{}, false
	}
	parent, err = strconv.Atoi(string(fields[1]))
	return parent, process{pid: pid, start: string(fields[19])}, err == nil
}

// signal sends a signal to the process if it still lives.
func (p process) signal(number syscall.Signal) {
	if _, now, ok := readStat(p.pid); ok && now == p {
		_ = unix.Kill(p.pid, number) // gone in the meantime is as good
	}
}

// killAll sends SIGKILL to those processes that still live.
func killAll(processes []process) {
	for _, p := range processes {
		p.signal(unix.SIGKILL)
	}
}

// deafTo tells whether a process is the first of a pid namespace and neither catches nor ignores a signal: the kernel
// doesn't deliver it then (pid_namespaces(7)).
func deafTo(p process, number syscall.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return false
	}
	first, handled := false, false
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		fields := bytes.Fields(value)
		switch string(name) {
		case "NSpid":
			first = len(fields) > 1 && string(fields[len(fields)-1]) == "1"
		case "SigIgn", "SigCgt":
			if len(fields) == 1 {
				mask, _ := strconv.ParseUint(string(fields[0]), 16, 64) // the kernel writes it
				handled = handled || mask>>(number-1)&1 == 1
			}
		}
	}
	return first && !handled
}

// inContainer tells whether a process below this one is a step's own, and not a helper of the library or an OCI runtime:
// it has another root directory than this process. The library's helper for chroots has the step's root, and takes a TERM
// for a request to kill the step.
func inContainer(p process) bool {
	own, err := os.Stat("/proc/self/root/")
	if err != nil {
		return false
	}
	root, err := os.Stat(fmt.Sprintf("/proc/%d/root/", p.pid))
	if err != nil || os.SameFile(own, root) {
		return false
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	return err == nil && !bytes.HasPrefix(command, []byte("buildah-chroot-exec"))
}

// reap collects the ended children that were handed to this process as their subreaper, so that none is left as a
// zombie. Nothing else may be waiting for a child: it is for the end of a run.
func reap() {
	for range 50 {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return // ECHILD: none left
		case pid == 0:
			time.Sleep(10 * time.Millisecond) // killed, and not quite gone
		}
	}
}

// newSince returns the processes below this one that weren't there before and that which is true of; nil is true of all.
func newSince(before []process, which func(process) bool) (found []process) {
	for _, p := range descendants(os.Getpid()) {
		if !slices.Contains(before, p) && (which == nil || which(p)) {
			found = append(found, p)
		}
	}
	return found
}

// killSince kills the processes below this one that weren't there before, until none is left or half a second has gone.
func killSince(before []process) {
	for range 50 {
		left := newSince(before, nil)
		if len(left) == 0 {
			return
		}
		killAll(left)
		time.Sleep(10 * time.Millisecond)
	}
}
