package sandbox

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Step is one command to run in a root file system. Everything in it is the caller's decision but what only the kernel
// can decide; see the package comment for what is always set up.
type Step struct {
	Root  string // the root file system, a path that is trusted
	Stage string // an empty directory outside Root, hidden from the step; many steps may share it

	Args []string // argv; Args[0] is a path inside the root, or relative to Dir. Empty: only the set-up is tried
	Env  []string // NAME=VALUE, all of it
	Dir  string   // working directory inside the root, which must exist

	User         User
	Capabilities []string // CAP_CHOWN, ...: bounding for every user, effective for uid 0 alone
	NoNewPrivs   bool
	Filter       *Filter // nil: no system call is filtered
	Limits       []Limit

	Hostname string    // in a UTS namespace of its own
	Network  Namespace // a new one has nothing but a loopback interface
	IPC      Namespace
	UTS      Namespace
	Cgroup   Namespace
	HostPID  bool // among the caller's processes: what the step leaves behind lives on
	Sysctls  []Sysctl
	Files    []File
	Binds    []Bind
	Devices  []Bind   // at places below /dev
	ShmSize  string   // of /dev/shm, as tmpfs(5) takes it; "" is 64 MiB
	Masked   []string // not readable
	ReadOnly []string // below /proc and /sys: not writable

	Stdin, Stdout, Stderr *os.File // nil with a terminal
	Terminal              *Terminal
	Users                 *UserNamespace // nil is the caller's own
}

// Namespace is which one of its kind a step is in. The zero value is a new one.
type Namespace struct {
	Host bool     // the caller's own
	Join *os.File // this one
}

func (n Namespace) isNew() bool { return !n.Host && n.Join == nil }

// User is who a step runs as. The IDs are those of the user namespace that the step runs in.
type User struct {
	UID, GID   uint32
	Groups     []uint32 // supplementary ones, GID not implied
	KeepGroups bool     // the caller's own supplementary groups instead, whether mapped or not
	Home       string
}

// Terminal is a pseudo-terminal that a step has for its three streams, in a /dev/pts that nobody else sees.
type Terminal struct {
	Size   *unix.Winsize
	Opened func(master *os.File) // called with the other end, which it closes, when the program is executed
}

// UserNamespace is one that a step runs in, below the caller's own.
type UserNamespace struct {
	File *os.File // of /proc/PID/ns/user
	// What IDs of it are in the caller's. What is made for the step belongs to its root.
	HostID func(uid, gid uint32) (hostUID, hostGID uint32)
}

// Limit is one of setrlimit(2)'s.
type Limit struct {
	Resource   int // RLIMIT_NOFILE, ...
	Soft, Hard uint64
}

// Sysctl is a setting of one of the step's own namespaces.
type Sysctl struct{ Name, Value string } // "net.ipv4.ip_forward"

// File is a file of rlbuild's own that the step finds at Target, writable and gone with the step. Target must exist in
// the root (Targets makes it so); links in it are followed inside the root.
type File struct {
	Target  string
	Content []byte
	Mode    os.FileMode
}

// Bind shows the host's Source, a trusted path, at Target in the root, a clean absolute name. A target in or below another
// one's may be hidden by that: it is made there, then.
type Bind struct {
	Source, Target string
	ReadOnly       bool   // for what is mounted below it as well
	Propagation    uint64 // unix.MS_PRIVATE (also 0), MS_SLAVE or MS_UNBINDABLE
}

// Error is a step that could not be started.
type Error struct {
	Doing   string // "mounting proc on /proc"
	Program bool   // all was set up: the program itself is missing or can't be executed
	Err     syscall.Errno
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Doing, e.Err) }

// Unwrap returns the kernel's error number.
func (e *Error) Unwrap() error { return e.Err }

// Run starts the step and waits for its end; nothing of it is left when Run returns. When ctx ends, the step is killed
// at once. The error is an *Error when the step could not be started; a command that failed is a state, not an error.
func (s *Step) Run(ctx context.Context) (*os.ProcessState, error) {
	return s.run(ctx)
}

// Try finds out whether steps can run here: it does all of the set-up in the directory root, which gets what directories
// it lacks, and then executes nothing.
func Try(root, stage string, s Step) error {
	for _, name := range []string{"/proc", "/sys", "/dev"} {
		if err := os.MkdirAll(root+name, 0o755); err != nil {
			return fmt.Errorf("making a root to try it with: %w", err)
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	s.Root, s.Stage, s.Dir, s.Args = root, stage, "/", nil
	s.Stdin, s.Stdout, s.Stderr = null, null, null
	state, err := s.Run(context.Background())
	if err != nil {
		return err
	}
	if !state.Success() {
		return fmt.Errorf("the trial step ended with %v", state)
	}
	return nil
}
