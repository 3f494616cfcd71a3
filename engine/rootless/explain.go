package rootless

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// facts is what the machine says about namespaces.
type facts struct {
	// The kernel's answers to a process made in a new user namespace, in one with the caller's ID mapped, and in that and
	// a new mount namespace; 0 when it was made. Without a user namespace only the last is asked.
	user, mapped, mounts syscall.Errno

	root     bool                     // the caller is root
	chroot   bool                     // the root directory isn't the mount namespace's
	seccomp  bool                     // a system call filter is in force
	filtered bool                     // it refuses unshare(2) itself, whatever is asked for
	sysctl   func(name string) string // value of a sysctl, "" when there's none
	program  string                   // path of this program
}

// explain turns a failure to enter into one that names its cause.
func explain(me caller, user bool, err error) error {
	f := facts{root: me.uid == 0, chroot: !rootIsMount(), seccomp: underSeccomp(), filtered: unshareFiltered(), sysctl: sysctl}
	f.program, _ = os.Executable()
	switch refused := (unmapped{}); {
	case errors.As(err, &refused): // the process has left already, where a trial would say nothing about the outside
		f.mapped, f.mounts = refused.errno, refused.errno
	case errors.Is(err, errOutside):
		return failure.New("mapping IDs", "", "%w", err).WithKind(failure.Machine).
			WithHint("newuidmap asks where /etc/nsswitch.conf says, a directory service perhaps: see that \"newuidmap\" and \"id\" answer.")
	case user:
		f.user = try(syscall.CLONE_NEWUSER, nil)
		f.mapped = try(syscall.CLONE_NEWUSER, &me)
		f.mounts = try(syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS, &me)
	default:
		f.mounts = try(syscall.CLONE_NEWNS, nil)
	}
	op := "entering a user namespace"
	if !user {
		op = "entering a mount namespace"
	}
	if known, details := f.cause(); known != nil {
		return known.Explain(op, "", err, details)
	}
	return failure.New(op, "", "%w", err).WithHint("%s", unknownCure).WithKind(failure.Machine)
}

// unknownCure is what to do when nothing is known to be wrong.
const unknownCure = "Try \"unshare --user --map-root-user --mount true\": if that fails too, this machine refuses namespaces."

// verdict returns what is wrong and the cure; what is wrong is "" when nothing is known to be.
func (f facts) verdict() (why, hint string) {
	known, details := f.cause()
	if known == nil {
		return "", unknownCure
	}
	return known.Reason(nil, details).Error(), known.Hint(details)
}

// cause returns what is wrong, nil when nothing is known to be.
func (f facts) cause() (*trouble.Trouble, trouble.Facts) {
	refused := f.user == syscall.EPERM || f.user == syscall.EACCES
	// With it the trials may all succeed, and then everything inside is refused.
	restricted := !f.root && f.sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1"
	switch {
	case f.user == syscall.ENOSPC && f.sysctl("user.max_user_namespaces") == "0":
		return trouble.NamespacesOff, nil
	case f.user == syscall.ENOSPC || f.user == syscall.EUSERS:
		return trouble.NamespacesFull, trouble.Facts{"limit": f.sysctl("user.max_user_namespaces")}
	case f.user == 0 && f.mounts == syscall.ENOSPC:
		return trouble.MountNamespacesFull, trouble.Facts{"limit": f.sysctl("user.max_mnt_namespaces")}
	case f.user == syscall.EINVAL || f.user == syscall.ENOSYS:
		return trouble.NoNamespaces, nil
	case !f.root && f.sysctl("kernel.unprivileged_userns_clone") == "0":
		return trouble.NamespacesOffUsers, nil
	case f.chroot && refused:
		return trouble.InChroot, nil
	case f.filtered || f.seccomp && !restricted && (refused || f.mounts != 0):
		return trouble.Filtered, nil
	case f.root && f.user == 0 && f.mapped == syscall.EPERM:
		return trouble.NoSetFCap, nil
	case f.user == syscall.EAGAIN:
		return trouble.NoMoreProcesses, nil
	case restricted && (f.user == 0 || refused):
		return trouble.AppArmor, trouble.Facts{"program": f.program}
	case refused || f.mounts == syscall.EPERM || f.mounts == syscall.EACCES:
		return trouble.Refused, nil
	}
	return nil, nil
}

// try asks the kernel for a process in new namespaces, with only the caller's own ID mapped if me isn't nil, and returns
// its answer. The process never runs anything: the path has a directory that is a file, which gives an answer of its own.
func try(flags uintptr, me *caller) syscall.Errno {
	attr := &syscall.SysProcAttr{Cloneflags: flags}
	if me != nil {
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: me.uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: me.gid, Size: 1}}
	}
	_, err := syscall.ForkExec("/dev/null/none", []string{"none"}, &syscall.ProcAttr{Sys: attr})
	if errno, ok := err.(syscall.Errno); ok && errno != syscall.ENOTDIR {
		return errno
	}
	return 0
}

func sysctl(name string) string {
	value, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(value))
}

// rootIsMount reports whether the root directory is that of a mount; in a chroot it seldom is.
func rootIsMount() bool {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(mounts)) {
		// "36 35 98:0 /mnt1 /mnt2 rw,noatime …": the fifth is the mount point; see proc(5).
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == "/" {
			return true
		}
	}
	return false
}

func underSeccomp() bool {
	status, err := os.ReadFile("/proc/self/status")
	return err == nil && strings.Contains(string(status), "\nSeccomp:\t2")
}

// unshareFiltered reports whether unshare(2) is refused when it is asked for nothing: the kernel grants that to everybody, so
// only a filter does.
func unshareFiltered() bool {
	_, _, errno := syscall.RawSyscall(syscall.SYS_UNSHARE, 0, 0, 0)
	return errno != 0
}
