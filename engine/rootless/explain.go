package rootless

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// facts is what the machine says about namespaces.
type facts struct {
	// The kernel's answers to a process made in a new user namespace, in one with the caller's ID mapped, and in that and
	// a new mount namespace; 0 when it was made. Without a user namespace only the last is asked.
	user, mapped, mounts syscall.Errno

	root    bool                     // the caller is root
	chroot  bool                     // the root directory isn't the mount namespace's
	seccomp bool                     // a system call filter is in force
	sysctl  func(name string) string // value of a sysctl, "" when there's none
	program string                   // path of this program
}

// explain turns a failure to enter into one that names its cause.
func explain(me caller, user bool, err error) error {
	f := facts{root: me.uid == 0, chroot: !rootIsMount(), seccomp: underSeccomp(), sysctl: sysctl}
	f.program, _ = os.Executable()
	switch refused := (unmapped{}); {
	case errors.As(err, &refused): // the process has left already, where a trial would say nothing about the outside
		f.mapped, f.mounts = refused.errno, refused.errno
	case user:
		f.user = try(syscall.CLONE_NEWUSER, nil)
		f.mapped = try(syscall.CLONE_NEWUSER, &me)
		f.mounts = try(syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS, &me)
	default:
		f.mounts = try(syscall.CLONE_NEWNS, nil)
	}
	why, hint := f.verdict()
	op := "entering a user namespace"
	if !user {
		op = "entering a mount namespace"
	}
	if why != "" {
		err = errors.New(why)
	}
	return failure.New(op, "", "%w", err).WithHint("%s", hint).WithKind(failure.Machine)
}

// verdict returns what is wrong and the cure; what is wrong is "" when nothing is known to be.
func (f facts) verdict() (why, hint string) {
	const container = "Start the container with a profile that allows new namespaces and mounts (--security-opt seccomp=unconfined" +
		" --security-opt apparmor=unconfined), or build outside of it."
	refused := f.user == syscall.EPERM || f.user == syscall.EACCES
	switch {
	case f.user == syscall.ENOSPC && f.sysctl("user.max_user_namespaces") == "0":
		return "user namespaces are turned off (user.max_user_namespaces is 0)",
			"Run \"sysctl -w user.max_user_namespaces=15000\" as root, and write it to a file in /etc/sysctl.d to keep it."
	case f.user == syscall.ENOSPC || f.user == syscall.EUSERS:
		return fmt.Sprintf("there are too many user namespaces (user.max_user_namespaces is %s; no more than 32 inside each other)",
				f.sysctl("user.max_user_namespaces")),
			"End what holds them, or raise the limit with sysctl as root."
	case f.user == 0 && f.mounts == syscall.ENOSPC:
		return fmt.Sprintf("there are too many mount namespaces (user.max_mnt_namespaces is %s)", f.sysctl("user.max_mnt_namespaces")),
			"End what holds them, or raise the limit with sysctl as root."
	case f.user == syscall.EINVAL || f.user == syscall.ENOSYS:
		return "this kernel has no user namespaces", "Use a kernel built with CONFIG_USER_NS."
	case !f.root && f.sysctl("kernel.unprivileged_userns_clone") == "0":
		return "user namespaces are turned off for ordinary users (kernel.unprivileged_userns_clone is 0)",
			"Run \"sysctl -w kernel.unprivileged_userns_clone=1\" as root, and write it to a file in /etc/sysctl.d to keep it."
	case f.chroot && refused:
		return "the kernel makes no user namespace for a process in a chroot",
			"Run rlbuild outside of the chroot, or enter the directory with pivot_root or as a container instead."
	case f.seccomp && (refused || f.mounts != 0):
		return "a system call filter (seccomp) refuses new namespaces, as containers' default profiles do", container
	case f.root && f.user == 0 && f.mapped == syscall.EPERM:
		return "root may not map its own ID here, CAP_SETFCAP is missing",
			"Give the container CAP_SETFCAP, CAP_SETUID and CAP_SETGID, or run rlbuild in it as an ordinary user."
	case !f.root && f.sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
		// Last of the known causes: with it the trials may all succeed, and then everything inside is refused.
		return "AppArmor keeps ordinary users' programs from working in user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
			fmt.Sprintf("As root, load a profile that lets this program: \"abi <abi/4.0>, profile rlbuild %s flags=(unconfined) { userns, }\";"+
				" or run \"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\".", f.program)
	case refused || f.mounts == syscall.EPERM || f.mounts == syscall.EACCES:
		return "something on this machine refuses new namespaces",
			"A chroot does, and so may SELinux, AppArmor or a systemd unit's RestrictNamespaces=; the kernel log names the latter."
	}
	return "", "Try \"unshare --user --map-root-user --mount true\": if that fails too, this machine refuses namespaces."
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
