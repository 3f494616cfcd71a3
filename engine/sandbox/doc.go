// Package sandbox runs one command in a root file system, in namespaces of its own, in a few milliseconds. It is for the
// run steps of a build: the caller is root of a user namespace already (engine/rootless sees to that) and says what the
// step may see and do; this package has the kernel make it so.
//
// # How a step starts
//
// Step.Run writes a plan of mounts into C memory and clones itself. No Go code runs in the child, which couldn't: it has
// one of the process's threads. A C function (child.c) does the plan's operations with bare system calls and ends in
// execve(2). No helper program, no configuration file, no second exec. The command is process 1 of a new pid namespace:
// when it ends, the kernel kills all that it left, before Run returns.
//
// # The threat model
//
// The image is hostile: its files, links and configuration are an attacker's, and so is every command that runs. The
// attacker wants out of the step: to files, processes, keys or devices of the host, of the user or of another container; to
// outlive the step; or to change what rlbuild does later. The host, the calling user's own files outside the store, and
// what the script names are trusted. Steps of one run do not run at the same time in one root, so nobody changes the tree
// while it is set up. What holds an attacker, and where:
//
//   - The root is entered by pivot_root(2) and the old one unmounted: there is no tree to climb to, with chroot(2) or
//     without. Mounts are private in both directions, but for binds that the caller makes the host's slaves: those show what
//     the host mounts there. (enter_root, leave_old_root)
//   - Names in the image are resolved by openat2(2) inside the root, without magic links, before anything of ours is mounted
//     there, and mounts are attached to the descriptors that this gives, never to paths. /proc, /sys and /dev must be real
//     directories. What is masked below them is looked up in our own mounts, in which no link is followed: a /proc that
//     is a link can't move the masks elsewhere (CVE-2019-19921, CVE-2023-28642). What a bind needs inside of another bind is
//     made by such a descriptor too. (open_target, make_target, Targets.Make)
//   - No descriptor of rlbuild's reaches the step but the three streams, and the working directory is entered after they
//     are closed and without magic links (CVE-2024-21626). (arrange, change_directory)
//   - The program, and the interpreters that "#!" lines name, may not be reached by a magic link: /proc/self/exe would be
//     rlbuild's own binary (CVE-2019-5736). (check_program)
//   - The mount namespace is new; so are the pid, IPC, UTS, cgroup and network namespaces unless the caller chooses the
//     host's, or others to join, which gives the step what is in them. A step among the host's processes sees rlbuild's
//     own in /proc, shares no memory with it, and with the default capabilities can't trace it. The user namespace is the
//     caller's, as with buildah: the step's root is the calling user with his sub-IDs, and is kept from using that by
//     what follows. A step with a user namespace of its own joins it when all is set up: the other namespaces stay the
//     caller's, so that no capability it has there gives it power over its mounts, its name or its network. (run)
//   - Devices that the caller lists are bound into the step's own /dev, where no name is the image's to choose.
//   - Capabilities are those the caller lists, in the bounding set for good, and none but for uid 0. With the default list
//     nothing can be mounted, no namespace entered, no device made, no process outside traced.
//   - The containers tools' seccomp profile, or one that the caller names, decides which system calls there are. It is loaded
//     while the child still has CAP_SYS_ADMIN, because no_new_privs, the other way to be allowed to, would break setuid
//     programs that builds use.
//   - /proc/sys and its siblings are read-only, what leaks about the host is masked, /sys is read-only in depth. The root is
//     mounted without devices: a device node in an image stays inert.
//   - The step has no controlling terminal (setsid), so TIOCSTI has none to type into; or one of its own, in an instance of
//     devpts that nobody else mounts, so that TIOCSTI types to itself. The other end is rlbuild's alone, and what comes out of
//     there is for rlbuild to show or to neutralise. (take_terminal)
//   - Its input is a pipe or that terminal, never a file of the host, which the step's root, who is the user, could open
//     anew for writing; the caller sees to that.
//   - It dies with the thread that made it; it has a session keyring of its own if the user's quota of keys allows.
//   - Its supplementary groups are those the caller lists, or by express wish the user's own, by which it reaches what these
//     groups may reach of what is mounted in its root. (become)
//   - Signal handlers and mask are the defaults, the umask is 022, limits are set to what the caller says.
//
// What is not held: the kernel's own errors, and use of CPU, memory and disk beyond setrlimit(2), as for every rootless
// container without a cgroup. A command that takes back its parent-death signal outlives a rlbuild that is killed with
// SIGKILL, until its end. There is no device cgroup, SELinux label or AppArmor profile: who needs those has an OCI runtime.
//
// While the child is set up it shares rlbuild's memory, as after vfork(2), unless it changes its user. Nobody else is in
// its pid namespace then, and execve gives it memory of its own.
package sandbox
