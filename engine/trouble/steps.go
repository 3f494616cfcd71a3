package trouble

var stepTroubles = Group{"Steps", []*Trouble{
	NoShell, NoCommand, NotExecutable, ClosedDirectory, NoExecMount, NoInterpreter, CarriageReturn, NoLoader, ForeignProgram, NoProgram,
	NoHostCommand,
	Capability, DeviceNode, DeviceMount, LoopDevice, Clock, LowPort, Ping, KernelSetting, KernelModule, Swap,
}}

// Programs that can't be executed. {place} is "the container" or "this machine", {where} in or on it.
var (
	NoShell = &Trouble{
		Name: "no-shell",
		See:  `exec: "/bin/sh": stat /bin/sh: no such file or directory`,
		Why:  "the container has no {shell}, which a command that is a string runs in",
		Cure: `Give the command as a list, run(ctr, ["/app", "--help"]); install a shell; or name another one: config(ctr, shell = …).`,
	}
	NoCommand = &Trouble{
		Name: "no-command",
		See:  "executable file not found in $PATH",
		Why:  `the container has no command "{command}"`,
		Cure: "Install it in the container, or give its path{path}; an image without a shell can only run what it holds.",
	}
	NotExecutable = &Trouble{
		Name: "not-executable",
		See:  "exec: permission denied",
		Why:  `"{command}" is not executable {where}: {detail}`,
		Cure: "Check its permissions: path.chmod(0o755); or name the program that runs it: [\"sh\", \"script\"].",
	}
	ClosedDirectory = &Trouble{
		Name: "closed-directory",
		See:  "exec: permission denied (and the file is executable)",
		Why:  `"{command}" can't be executed: the directory {path} (mode {mode}, owner {owner}) is closed to user {user}`,
		Cure: "Put the program where its user can get, or open the directory: path.chmod(0o755).",
	}
	NoExecMount = &Trouble{
		Name: "noexec-mount",
		See:  "exec: permission denied (and the file is executable)",
		Why:  `"{command}" lies on a file system that is mounted with noexec ({path})`,
		Cure: "Copy it to one that isn't, or name the program that runs it: [\"sh\", \"script\"].",
	}
	NoInterpreter = &Trouble{
		Name: "no-interpreter",
		See:  "no such file or directory (and the script is there)",
		Why:  `{place} has {command}, but not {interpreter}, which its first line names`,
		Cure: "Install the interpreter, or name the one that is there in the first line.",
	}
	CarriageReturn = &Trouble{
		Name: "carriage-return",
		See:  "/bin/sh^M: bad interpreter",
		Why:  `the first line of {command} ends as on Windows, with a carriage return, which counts as part of the interpreter's name`,
		Cure: "Save the script with Unix line ends: sed -i 's/\\r$//' FILE",
	}
	NoLoader = &Trouble{
		Name: "no-loader",
		See:  "no such file or directory (and the program is there)",
		Why:  `{command} is linked dynamically, and {place} lacks the loader that it names, {loader}`,
		Cure: "Link it statically (Go: CGO_ENABLED=0), or use an image with the C library that it was built for{library}.",
	}
	ForeignProgram = &Trouble{
		Name: "foreign-architecture",
		See:  "exec format error",
		Why:  "{command} is a program for {architecture}, this machine is {machine}, {emulator}",
		Cure: `Take the image for this machine, from_(…, platform = "linux/{machine}"), or have an administrator install an emulator (qemu-user-static and binfmt-support).`,
	}
	NoProgram = &Trouble{
		Name: "no-program",
		See:  "exec format error (and it is no program)",
		Why:  `{command} is no program: {detail}`,
		Cure: `Name a program. A script begins with the line "#!/bin/sh", or is named after the program that runs it: ["sh", "script"].`,
	}
	NoHostCommand = &Trouble{
		Name: "no-host-command",
		See:  `exec: "tool": executable file not found in $PATH`,
		Why:  "no {missing}",
		Cure: "Install it on this machine, or give its path{path}.",
	}
)

// What the kernel refuses. Capabilities of a user namespace count inside of it.
var (
	Capability = &Trouble{
		Name: "capability",
		See:  "hostname: sethostname: Operation not permitted",
		Why:  "{what} takes {capability}, which this step doesn't have",
		Cure: `Give it: run(…, cap_add = ["{name}"]){more}.`,
	}
	DeviceNode = &Trouble{
		Name: "device-node",
		See:  "mknod: Operation not permitted",
		Why:  "nobody can make device nodes in a user namespace, whatever capabilities are given",
		Cure: `Leave them out (steps have the usual ones in /dev), or show the step one of the host's that you may use: device = ["/dev/…"].`,
	}
	DeviceMount = &Trouble{
		Name: "device-mount",
		See:  "mount: permission denied",
		Why:  "in a user namespace only file systems that need no device can be mounted (tmpfs, overlay, bind mounts, proc, FUSE)",
		Cure: "Unpack the file system with tools that read it as a file (debugfs, unsquashfs, bsdtar, 7z), or have an administrator mount it and show it to the step: mount = [bind(…)].",
	}
	LoopDevice = &Trouble{
		Name: "loop-device",
		See:  "mount: failed to set up loop device",
		Why:  "loop devices are the machine's, and need its root",
		Cure: "Unpack the image with tools that read it as a file (debugfs, unsquashfs, bsdtar, 7z), or make it from a directory (mkfs.ext4 -d DIR, mksquashfs).",
	}
	Clock = &Trouble{
		Name: "clock",
		See:  "date: cannot set date: Operation not permitted",
		Why:  "the clock is the machine's: CAP_SYS_TIME of a user namespace, given or not, doesn't set it",
		Cure: "Leave it as it is; for files and images with fixed times there are timestamp and source_date_epoch, for programs faketime.",
	}
	LowPort = &Trouble{
		Name: "low-port",
		See:  "bind: Permission denied",
		Why:  "the step is in the host's network, where ports below {start} are the machine's root's (net.ipv4.ip_unprivileged_port_start), and it wants {port}",
		Cure: `Listen at a higher port, take a network of the step's own (network = "private" or "none"), or have an administrator lower that setting: sysctl net.ipv4.ip_unprivileged_port_start={port}`,
	}
	Ping = &Trouble{
		Name: "ping",
		See:  "ping: permission denied (are you root?)",
		Why:  "in the host's network your group may not ping (net.ipv4.ping_group_range), and CAP_NET_RAW of a user namespace doesn't count there",
		Cure: "Have an administrator widen net.ipv4.ping_group_range, or try the connection with another tool (wget, nc).",
	}
	KernelSetting = &Trouble{
		Name: "kernel-setting",
		See:  "sysctl: error setting key: Read-only file system",
		Why:  "{setting} is a setting of the kernel, not of the image, and read-only for steps",
		Cure: "Leave it out of the build: set it where the image will run, or on this machine as an administrator.",
	}
	KernelModule = &Trouble{
		Name: "kernel-module",
		See:  "modprobe: can't load module: Operation not permitted",
		Why:  "kernel modules are the machine's, and no user namespace can load one",
		Cure: "Have an administrator load it on this machine, or leave it out of the build.",
	}
	Swap = &Trouble{
		Name: "swap",
		See:  "swapon: Operation not permitted",
		Why:  "swap is the machine's, and no user namespace can change it",
		Cure: "Leave it out of the build.",
	}
)
