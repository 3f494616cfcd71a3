package sandbox

// #include "child.h"
import "C"

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// run starts the child and waits for it.
func (s *Step) run(ctx context.Context) (*os.ProcessState, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The child dies with the thread that made it (PR_SET_PDEATHSIG), so this one must be there until the child has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	reports, report, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe for the step's set-up: %w", err)
	}
	defer reports.Close()
	ops := s.plan()
	masters, master, err := s.terminalSocket()
	if err != nil {
		return nil, errors.Join(err, report.Close())
	}
	pid, err := s.start(ctx, ops, report, master)
	report.Close()
	terminal := receive(masters, master)
	if err != nil {
		closeAll(terminal)
		return nil, err
	}
	process, err := os.FindProcess(pid) // holds a pidfd where there is one; unreaped, the pid can't be another's
	if err != nil {
		return nil, fmt.Errorf("watching the step: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = process.Kill() })() // ended in the meantime is as good
	failed, reportErr := readReport(reports)
	if terminal != nil && failed == nil {
		s.Terminal.Opened(terminal)
	} else {
		closeAll(terminal)
	}
	state, err := process.Wait()
	if err != nil {
		return nil, fmt.Errorf("waiting for the step: %w", err)
	}
	if err := errors.Join(reportErr, ctx.Err()); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, s.explain(ops, failed)
	}
	return state, nil
}

// descriptor returns a file's number, -1 for none.
func descriptor(f *os.File) C.int {
	if f == nil {
		return -1
	}
	return C.int(f.Fd())
}

// hostID returns what IDs of the step are in the caller's user namespace.
func (s *Step) hostID(uid, gid uint32) (hostUID, hostGID uint32) {
	if s.Users == nil {
		return uid, gid
	}
	return s.Users.HostID(uid, gid)
}

// terminalSocket returns a pair of sockets by which the child can send its terminal's master end; nil for a step without.
func (s *Step) terminalSocket() (receiver, sender *os.File, err error) {
	if s.Terminal == nil {
		return nil, nil, nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket for the step's terminal: %w", err)
	}
	return os.NewFile(uintptr(pair[0]), "terminals"), os.NewFile(uintptr(pair[1]), "terminals"), nil
}

// receive returns the master end that the child has sent, if it has, and closes both sockets. The child has executed its
// program by now, or is gone.
func receive(receiver, sender *os.File) *os.File {
	if receiver == nil {
		return nil
	}
	defer closeAll(receiver, sender)
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(receiver.Fd()), make([]byte, 1), control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return nil
	}
	descriptors, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(descriptors) != 1 {
		return nil
	}
	return os.NewFile(uintptr(descriptors[0]), "terminal")
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// readReport waits until the child has executed its program, or failed to, or was killed.
func readReport(pipe io.Reader) (*C.struct_report, error) {
	data, err := io.ReadAll(io.LimitReader(pipe, C.sizeof_struct_report))
	if err != nil {
		return nil, fmt.Errorf("reading how the step's set-up went: %w", err)
	}
	if len(data) < C.sizeof_struct_report {
		return nil, nil
	}
	var numbers [3]int32
	if err := binary.Read(bytes.NewReader(data), binary.NativeEndian, &numbers); err != nil {
		return nil, fmt.Errorf("reading how the step's set-up went: %w", err)
	}
	return &C.struct_report{phase: C.int(numbers[0]), index: C.int(numbers[1]), error: C.int(numbers[2])}, nil
}

// explain turns the child's report into an error.
func (s *Step) explain(ops []operation, r *C.struct_report) error {
	e := &Error{Err: syscall.Errno(r.error)}
	switch r.phase {
	case C.AT_START:
		e.Doing = "arranging the step's process"
	case C.AT_JOIN:
		e.Doing = "joining the " + []string{"network", "IPC", "UTS", "cgroup"}[r.index] + " namespace"
	case C.AT_LOOPBACK:
		e.Doing = "raising the loopback interface"
	case C.AT_ROOT:
		e.Doing = "mounting the root " + s.Root
	case C.AT_OPERATION:
		e.Doing = ops[r.index].doing
	case C.AT_TERMINAL:
		e.Doing = "making its terminal"
	case C.AT_PIVOT:
		e.Doing = "leaving the host's root"
	case C.AT_HOSTNAME:
		e.Doing = fmt.Sprintf("setting the host name %q", s.Hostname)
	case C.AT_LIMITS:
		l := s.Limits[r.index]
		e.Doing = fmt.Sprintf("setting resource limit %d to %d:%d", l.Resource, l.Soft, l.Hard)
	case C.AT_NAMESPACE:
		e.Doing = "joining the user namespace"
	case C.AT_DIRECTORY:
		e.Doing = "changing to the working directory " + s.Dir
	case C.AT_PROGRAM, C.AT_EXEC:
		e.Doing, e.Program = "executing "+s.Args[0], true
	case C.AT_CAPABILITIES:
		e.Doing = "giving up capabilities"
	case C.AT_SECCOMP:
		e.Doing = "loading the system call filter"
	case C.AT_USER:
		e.Doing = fmt.Sprintf("becoming user %d, group %d", s.User.UID, s.User.GID)
	}
	return e
}

// start makes the child and returns its pid when it executes its program or has ended. The report is in the pipe then.
func (s *Step) start(ctx context.Context, ops []operation, report, master *os.File) (int, error) {
	for _, text := range append(append([]string{s.Root, s.Stage, s.Dir, s.Hostname}, s.Args...), s.Env...) {
		if strings.ContainsRune(text, 0) {
			return 0, fmt.Errorf("%q holds a NUL byte", text)
		}
	}
	bounding, err := capabilityBits(s.Capabilities)
	if err != nil {
		return 0, err
	}
	var m memory
	defer m.free()
	c := (*C.struct_step)(m.alloc(C.sizeof_struct_step))
	c.root, c.directory = m.text(s.Root), m.text(s.Dir)
	for i, f := range []*os.File{s.Stdin, s.Stdout, s.Stderr} {
		if s.Terminal != nil {
			f = master // only a place to be taken
		}
		c.stdio[i] = descriptor(f)
	}
	c.report, c.terminal, c.users = descriptor(report), descriptor(master), -1
	if s.Terminal != nil {
		c.rows, c.columns = C.ushort(s.Terminal.Size.Row), C.ushort(s.Terminal.Size.Col)
	}
	owner, _ := s.hostID(s.User.UID, 0)
	rootUID, rootGID := s.hostID(0, 0)
	c.terminal_uid, c.root_uid, c.root_gid = C.uint32_t(owner), C.uint32_t(rootUID), C.uint32_t(rootGID)
	if s.Users != nil {
		c.users = descriptor(s.Users.File)
	}
	s.chooseNamespaces(c)
	if s.UTS.isNew() {
		c.hostname = m.text(s.Hostname)
	}
	c.ops, c.nops = m.operations(ops), C.int(len(ops))
	c.limits, c.nlimits = m.limits(s.Limits), C.int(len(s.Limits))
	if len(s.Args) > 0 {
		c.argv, c.envp = m.texts(s.Args), m.texts(s.Env)
	}
	c.uid, c.gid, c.ngroups = C.uint32_t(s.User.UID), C.uint32_t(s.User.GID), -1
	if canSetGroups() && !s.User.KeepGroups {
		c.groups, c.ngroups = m.groups(s.User.Groups), C.int(len(s.User.Groups))
	}
	c.bounding = C.uint64_t(bounding)
	if s.User.UID == 0 {
		c.permitted = c.bounding
	}
	if s.NoNewPrivs {
		c.no_new_privs = 1
	}
	if slices.ContainsFunc(s.Binds, func(b Bind) bool { return b.Propagation == unix.MS_SLAVE }) {
		c.slave = 1
	}
	if s.Filter != nil {
		c.filter = m.bytes(s.Filter.program)
		c.nfilter = C.ushort(len(s.Filter.program) / unix.SizeofSockFilter)
	}
	finished := killWhenDone(ctx, (*int32)(unsafe.Pointer(&c.pid)))
	pid, err := C.rlbuild_sandbox_start(c)
	finished()
	runtime.KeepAlive(s)
	runtime.KeepAlive(report)
	runtime.KeepAlive(master)
	if pid < 0 {
		return 0, &Error{Doing: "making the step's namespaces", Err: err.(syscall.Errno)}
	}
	return int(pid), nil
}

// chooseNamespaces says which namespaces are new and which are joined.
func (s *Step) chooseNamespaces(c *C.struct_step) {
	flags := unix.CLONE_NEWNS
	if !s.HostPID {
		flags |= unix.CLONE_NEWPID
	}
	for i, n := range []struct {
		Namespace
		flag int
	}{
		C.JOIN_NETWORK: {s.Network, unix.CLONE_NEWNET}, C.JOIN_IPC: {s.IPC, unix.CLONE_NEWIPC},
		C.JOIN_UTS: {s.UTS, unix.CLONE_NEWUTS}, C.JOIN_CGROUP: {s.Cgroup, unix.CLONE_NEWCGROUP},
	} {
		c.joins[i] = -1
		if n.isNew() {
			flags |= n.flag
		} else if n.Join != nil {
			c.joins[i] = C.int(n.Join.Fd())
		}
	}
	c.namespaces = C.int(flags)
	if s.Network.isNew() {
		c.loopback = 1
	}
}

// killWhenDone kills the child, once *pid says which it is, when ctx ends before the returned function is called: its
// set-up may hang in a file system that another process serves. The child isn't waited for yet, so the pid is its own.
func killWhenDone(ctx context.Context, pid *int32) (finished func()) {
	started, watched := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(watched)
		for {
			if id := atomic.LoadInt32(pid); id > 0 {
				_ = unix.Kill(int(id), unix.SIGKILL) // ended in the meantime is as good
				return
			}
			select {
			case <-started:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return func() {
		close(started)
		if !stop() {
			<-watched
		}
	}
}

// canSetGroups tells whether setgroups(2) is allowed: a user namespace with one mapped group denies it for good.
var canSetGroups = sync.OnceValue(func() bool {
	data, err := os.ReadFile("/proc/self/setgroups")
	return err != nil || strings.TrimSpace(string(data)) != "deny"
})

// capabilityBits turns names into a set.
func capabilityBits(names []string) (bits uint64, err error) {
	known := map[string]capability.Cap{}
	for _, c := range capability.ListKnown() {
		known["CAP_"+strings.ToUpper(c.String())] = c
	}
	for _, name := range names {
		c, ok := known[strings.ToUpper(name)]
		if !ok {
			return 0, fmt.Errorf("unknown capability %q", name)
		}
		bits |= 1 << c
	}
	return bits, nil
}
