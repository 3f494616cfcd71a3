package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Mark makes the processes of the run recognisable: its journal is mounted on itself, in the mount namespace that they alone are in
// or have a copy of, so that /proc/PID/mountinfo names it. It isn't done where mounts would be seen outside as well; then
// what such a run leaves running when it is killed isn't found.
func (j *Journal) Mark() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(" shared:")) {
		return err
	}
	if err := unix.Mount(j.path, j.path, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	j.marked = true
	return nil
}

// Killed processes are looked for this often and for this long at least, with this pause after each time. The time alone would also
// count what the machine does for nobody, and looks alone take long where there are many processes.
const (
	endLooks    = 30
	endPatience = 3 * time.Second
	endPause    = 10 * time.Millisecond
)

// EndProcesses kills the processes that the run has left: those with its mark, and those whose root directory is on one of its
// layers. It returns which those were, "ID (command)" each, and fails if some are still there, or with the context's cause.
func (r *Remains) EndProcesses(ctx context.Context, layers []string) (ended []string, err error) {
	seen := map[int]bool{}
	began := time.Now()
	for looks := 1; ; looks++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		left := r.survivors(layers)
		if len(left) == 0 {
			return ended, nil
		}
		var refused error
		for _, pid := range left {
			if !seen[pid] {
				ended = append(ended, fmt.Sprintf("%d (%s)", pid, status(pid, "Name")))
			}
			seen[pid] = true
			refused = errors.Join(refused, r.kill(pid, layers))
		}
		if looks >= endLooks && time.Since(began) >= endPatience {
			if refused == nil {
				refused = errors.New("they don't end")
			}
			return nil, fmt.Errorf("ending %d: %w", len(left), refused)
		}
		time.Sleep(endPause)
	}
}

// survivors returns the processes that the run has left.
func (r *Remains) survivors(layers []string) (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	spared := ancestors()
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err == nil && pid > 1 && !slices.Contains(spared, pid) && r.owns(pid, layers) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ancestors returns this process and those that it comes from, which are never killed.
func ancestors() (pids []int) {
	for pid := os.Getpid(); pid > 0 && len(pids) < 1000; {
		pids = append(pids, pid)
		pid, _ = strconv.Atoi(status(pid, "PPid")) // 0 ends it
	}
	return pids
}

// owns tells whether a process is one that the run has left. One that a live run has started is not.
func (r *Remains) owns(pid int, layers []string) bool {
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid)) // not to be read of a zombie
	if err != nil {
		return false
	}
	mine := false
	for line := range bytes.Lines(mounts) {
		point := mountPoint(string(line))
		switch dir, id := filepath.Split(point); {
		case point == "/":
			mine = mine || slices.ContainsFunc(layers, func(layer string) bool { return bytes.Contains(line, []byte("/"+layer)) })
		case id == r.ID:
			mine = true
		case isID(id) && filepath.Base(dir) == filepath.Base(filepath.Dir(r.path)) && Live(dir, id):
			return false
		}
	}
	return mine
}

// SeenMounted tells whether some process sees a mount below dir, a path without links, with this name among the directories
// that lead to it.
func SeenMounted(dir, name string) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/mountinfo") // the pattern is a good one
	return slices.ContainsFunc(files, func(file string) bool {
		mounts, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(mounts, []byte("/"+name)) {
			return false // gone is as good as none
		}
		for line := range strings.Lines(string(mounts)) {
			below, found := strings.CutPrefix(mountPoint(line), dir+"/")
			if found && strings.Contains("/"+below+"/", "/"+name+"/") {
				return true
			}
		}
		return false
	})
}

// mountPoint returns where the mount of this line of mountinfo is, or "" if the line isn't one.
func mountPoint(line string) string {
	// "36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw", with spaces in octal: proc_pid_mountinfo(5).
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return ""
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
}

// kill kills one of them. The descriptor is the process's even when its number is given out anew, and what it is is asked once
// more when the descriptor holds it.
func (r *Remains) kill(pid int, layers []string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return ignoring(err, unix.ESRCH)
	}
	defer unix.Close(fd)
	if !r.owns(pid, layers) {
		return nil
	}
	err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	if !errors.Is(err, unix.EPERM) {
		return ignoring(err, unix.ESRCH)
	}
	// It is in another user namespace, where this process has no privilege: only its own user can end it.
	uid, parseErr := strconv.Atoi(status(pid, "Uid"))
	if parseErr != nil {
		return err
	}
	return ignoring(as(uid, func() error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) }), unix.ESRCH)
}

// as calls do as another user, in a thread that then ends.
func as(uid int, do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread goes with the goroutine
		if unix.Gettid() == os.Getpid() {
			// Not the main thread, which would stay, and whose user is the whole process's to others. It is taken for now.
			defer runtime.UnlockOSThread()
			result <- as(uid, do)
			return
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			result <- os.NewSyscallError("setresuid", errno)
			return
		}
		result <- do()
	}()
	return <-result
}

func ignoring(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

// status returns the first word of a line of /proc/PID/status, or "".
func status(pid int, name string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			if words := strings.Fields(value); len(words) > 0 {
				return words[0]
			}
		}
	}
	return ""
}
