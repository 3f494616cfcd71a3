package trouble

import "github.com/rlbuild/rlbuild/engine/failure"

var machineTroubles = Group{"The machine", []*Trouble{
	NamespacesOff, NamespacesOffUsers, NamespacesFull, MountNamespacesFull, NoNamespaces, InChroot, Filtered, AppArmor, Refused, NoSetFCap, NoMoreProcesses,
	MountRefused, NoMapHelper, HelperNoSUID, HelperPowerless, NoNewPrivs, HelperFailed, RootNoSetID, NoSubIDs, SubIDsUnread, SubIDsElsewhere, SubIDLine,
	FewSubIDs, SubIDsShared, SubIDsOfAccount, OneIDMapped, RuntimeDir, NoRuntimeDir, WroteBeside,
}}

// What refuses the namespaces themselves. Nothing runs then.
var (
	NamespacesOff = &Trouble{
		Name: "namespaces-off",
		See:  "cannot clone: No space left on device",
		Why:  "user namespaces are turned off (user.max_user_namespaces is 0)",
		Cure: `Run "sysctl -w user.max_user_namespaces=15000" as root, and write it to a file in /etc/sysctl.d to keep it.`,
		Kind: failure.Machine,
	}
	NamespacesOffUsers = &Trouble{
		Name: "namespaces-off-for-users",
		See:  "cannot clone: Operation not permitted",
		Why:  "user namespaces are turned off for ordinary users (kernel.unprivileged_userns_clone is 0)",
		Cure: `Run "sysctl -w kernel.unprivileged_userns_clone=1" as root, and write it to a file in /etc/sysctl.d to keep it.`,
		Kind: failure.Machine,
	}
	NamespacesFull = &Trouble{
		Name: "too-many-user-namespaces",
		See:  "unshare failed: No space left on device",
		Why:  "there are too many user namespaces (user.max_user_namespaces is {limit}; no more than 32 inside each other)",
		Cure: "End what holds them, or raise the limit with sysctl as root.",
		Kind: failure.Machine,
	}
	MountNamespacesFull = &Trouble{
		Name: "too-many-mount-namespaces",
		See:  "unshare failed: No space left on device",
		Why:  "there are too many mount namespaces (user.max_mnt_namespaces is {limit})",
		Cure: "End what holds them, or raise the limit with sysctl as root.",
		Kind: failure.Machine,
	}
	NoNamespaces = &Trouble{
		Name: "no-user-namespaces",
		See:  "unshare failed: Invalid argument",
		Why:  "this kernel has no user namespaces",
		Cure: "Use a kernel built with CONFIG_USER_NS.",
		Kind: failure.Machine,
	}
	InChroot = &Trouble{
		Name: "chroot",
		See:  "unshare failed: Operation not permitted",
		Why:  "the kernel makes no user namespace for a process in a chroot",
		Cure: "Run rlbuild outside of the chroot, or enter the directory with pivot_root or as a container instead.",
		Kind: failure.Machine,
	}
	Filtered = &Trouble{
		Name: "seccomp",
		See:  "unshare failed: Operation not permitted",
		Why:  "a system call filter (seccomp) refuses new namespaces, as containers' default profiles do",
		Cure: "Start the container with a profile that allows new namespaces and mounts (--security-opt seccomp=unconfined" +
			" --security-opt apparmor=unconfined), or build outside of it.",
		Kind: failure.Machine,
	}
	AppArmor = &Trouble{
		Name: "apparmor",
		See:  "write to uid_map failed: Operation not permitted",
		Why:  "AppArmor keeps ordinary users' programs from working in user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
		Cure: `As root, load a profile that lets this program: "abi <abi/4.0>, profile rlbuild {program} flags=(unconfined) { userns, }";` +
			` or run "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".`,
		Kind: failure.Machine,
	}
	Refused = &Trouble{
		Name: "namespaces-refused",
		See:  "unshare failed: Permission denied",
		Why:  "something on this machine refuses new namespaces",
		Cure: "A chroot does, and so may SELinux, AppArmor or a systemd unit's RestrictNamespaces=; the kernel log names the latter.",
		Kind: failure.Machine,
	}
	NoSetFCap = &Trouble{
		Name: "no-setfcap",
		See:  "write to uid_map failed: Operation not permitted",
		Why:  "root may not map its own ID here, CAP_SETFCAP is missing",
		Cure: "Give the container CAP_SETFCAP, CAP_SETUID and CAP_SETGID, or run rlbuild in it as an ordinary user.",
		Kind: failure.Machine,
	}
	NoMoreProcesses = &Trouble{
		Name: "no-more-processes",
		See:  "fork: retry: Resource temporarily unavailable",
		Why:  "no more processes or threads may be started",
		Cure: `Raise what limits them: "ulimit -u", TasksMax= of a service, the pids limit of a container.`,
		Kind: failure.Machine,
	}
	MountRefused = &Trouble{
		Name: "mount-refused",
		See:  "cannot change root filesystem propagation: Permission denied",
		Why:  "keeping mounts inside is refused: {detail}",
		Cure: "Something refuses mount(2), AppArmor or a container's seccomp profile perhaps; allow it or run elsewhere.",
		Kind: failure.Machine,
	}
)

// What leaves one ID to map: scripts run, and every file of an image has one owner.
var (
	NoMapHelper = &Trouble{
		Name: "helper-missing",
		See:  `exec: "newuidmap": executable file not found in $PATH`,
		Why:  "{helper} isn't installed, or isn't in PATH",
		Cure: "Install the package it comes in: uidmap (Debian, Ubuntu), shadow-utils (Fedora, RHEL), shadow (Arch, openSUSE), shadow-uidmap (Alpine).",
		Kind: failure.Machine,
	}
	HelperNoSUID = &Trouble{
		Name: "helper-nosuid",
		See:  "newuidmap: write to uid_map failed: Operation not permitted",
		Why:  "{path} is on a file system mounted nosuid",
		Cure: "Have one that isn't, or mount that one without nosuid.",
		Kind: failure.Machine,
	}
	HelperPowerless = &Trouble{
		Name: "helper-powerless",
		See:  "newuidmap: write to uid_map failed: Operation not permitted",
		Why:  "{path} is neither setuid root nor has the file capability it needs",
		Cure: `Install it anew, or run "chmod u+s {path}" as root.`,
		Kind: failure.Machine,
	}
	NoNewPrivs = &Trouble{
		Name: "no-new-privs",
		See:  "newuidmap: write to uid_map failed: Operation not permitted",
		Why:  "no_new_privs is set, under which newuidmap gets no privilege",
		Cure: "Run rlbuild outside of whatever sets it: NoNewPrivileges= of a systemd unit, no-new-privileges of a container, a sandbox.",
		Kind: failure.Machine,
	}
	HelperFailed = &Trouble{
		Name: "helper-failed",
		See:  "newuidmap: uid range [1-65537) -> [100000-165536) not allowed",
		Why:  "running {helper}: exit status {status}: {detail}",
		Cure: "Check the ranges of {user} in /etc/subuid and /etc/subgid.",
		Kind: failure.Machine,
	}
	RootNoSetID = &Trouble{
		Name: "root-without-setuid",
		See:  "write to uid_map failed: Operation not permitted",
		Why:  "root has neither CAP_SYS_ADMIN nor the right to map other IDs here",
		Cure: "Add CAP_SETUID, CAP_SETGID and CAP_SETFCAP to the container.",
		Kind: failure.Machine,
	}
	NoSubIDs = &Trouble{
		Name: "no-sub-ids",
		See:  `no subuid ranges found for user "alice" in /etc/subuid`,
		Why:  "no sub-IDs are set aside: {file} {detail}",
		Cure: "Have 65536 set aside, for users and for groups. {command}",
		Kind: failure.Machine,
	}
	SubIDsUnread = &Trouble{
		Name: "sub-ids-unread",
		See:  "open /etc/subuid: permission denied",
		Why:  "sub-IDs can't be looked up: {file} {detail}",
		Cure: "See that the user can read where sub-IDs are, the files or what /etc/nsswitch.conf names. {command}",
		Kind: failure.Machine,
	}
	SubIDsElsewhere = &Trouble{
		Name: "sub-ids-elsewhere",
		See:  "newuidmap: write to uid_map failed: Invalid argument",
		Why:  "the ranges of {user} in /etc/subuid and /etc/subgid don't exist in this container",
		Cure: "Give {user} ranges below {limit} there, or give the container more IDs.",
		Kind: failure.Machine,
	}
	OneIDMapped = &Trouble{
		Name: "one-id-mapped",
		See:  "newuidmap: uid range [1-65537) -> [100000-165536) not allowed",
		Why:  "the namespace rlbuild was started in maps one",
		Cure: "Start rlbuild outside of it, or give it more IDs.",
		Kind: failure.Machine,
	}
)

// What is amiss though scripts run, and doctor says.
var (
	SubIDLine = &Trouble{
		Name: "sub-id-line",
		See:  "cannot parse subuid/gid information: Format not correct for /etc/subuid file",
		Why:  "{line} of {file} can't be read as NAME:FIRST:COUNT",
		Cure: "Correct or remove it: rlbuild and newuidmap pass over it, podman and buildah refuse the whole file.",
		Kind: failure.Machine,
	}
	FewSubIDs = &Trouble{
		Name: "few-sub-ids",
		See:  "potentially insufficient UIDs or GIDs available in user namespace",
		Why:  "{user} has {count} IDs in {file}, and images expect 65536: those with files of higher owners, nobody (65534) for one, can't be unpacked",
		Cure: "Have more set aside. {command}",
		Kind: failure.Machine,
	}
	SubIDsShared = &Trouble{
		Name: "sub-ids-shared",
		See:  "files of one user's containers belong to another's",
		Why:  "the range {range} of {user} in {file} overlaps {detail}: what runs in the containers of one is owner of the other's files",
		Cure: "Give each user a range of their own; a store that exists keeps its old owners and has to be made anew.",
		Kind: failure.Machine,
	}
	SubIDsOfAccount = &Trouble{
		Name: "sub-ids-of-account",
		See:  "files of a container belong to a real account",
		Why:  "the range {range} of {user} in {file} holds the ID of {detail}: what runs in a container can act as that account",
		Cure: "Move the range to IDs that no account has; a store that exists keeps its old owners and has to be made anew.",
		Kind: failure.Machine,
	}
	RuntimeDir = &Trouble{
		Name: "runtime-dir",
		See:  "mkdir /run/user/1000: permission denied",
		Why:  "XDG_RUNTIME_DIR is {path}, which {detail}; {used}",
		Cure: `Log in as this user instead of by su or sudo ("machinectl shell USER@" does), or set XDG_RUNTIME_DIR to a directory of the user's own.`,
		Kind: failure.Machine,
	}
	NoRuntimeDir = &Trouble{
		Name: "no-runtime-dir",
		See:  "path exists and it is not writeable only by the current user",
		Why:  "there is no directory for run-time files: {detail}",
		Cure: "Set XDG_RUNTIME_DIR to a directory that belongs to user {user} and is closed to others (mode 0700).",
		Kind: failure.Machine,
	}
	WroteBeside = &Trouble{
		Name: "wrote-beside-mount",
		See:  "replacing mount point: directory not empty",
		Why: "{names} in {path} was written while nothing was mounted there, and is no part of the container: a mount ends with the" +
			" command or script whose namespaces it was made in",
		Cure: "Move it away from there, and write it while the container is mounted: in a script, or under rlbuild unshare --mount.",
	}
)
