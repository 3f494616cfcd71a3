package trouble

var ownerTroubles = Group{"Owners and permissions", []*Trouble{
	UnmappedOwner, LostGroup, StepUser, MountUser, MissingPath, DanglingLink, ReadOnlyMount, UnmappedID, ContainerID, OneID,
}}

var (
	UnmappedOwner = &Trouble{
		Name: "unmapped-owner",
		See:  "open: permission denied (and ls -l says nobody)",
		Why:  "{path} (mode {mode}) belongs to {owner} mapped in the user namespace, so not even its root, who is you, may pass",
		Cure: "Have its owner let others in (chmod o+rx, and o+x on each directory above it) or give it to you (chown), or copy what you need to a directory of your own.",
	}
	LostGroup = &Trouble{
		Name: "lost-group",
		See:  "cat: /src/file: Permission denied (in a step, and the file is your group's)",
		Why:  "{path} (mode {mode}) is open to one of your supplementary groups, and the step is in none of them",
		Cure: "Keep them: run(…, keep_groups = True), in the sandbox or with crun; commands of host() have them already. Or let others in: chmod o+r, o+x on directories.",
	}
	StepUser = &Trouble{
		Name: "step-user",
		See:  "cat: /src/file: Permission denied (in a step with a user of its own)",
		Why:  "{path} (mode {mode}) belongs to {owner}, and the step runs as {user}",
		Cure: `Run the step as root, who is you (user = "root"), give what is mounted to its user (U), have your own ID in the container (userns = "keep-id"), or let others in (chmod o+rX).`,
	}
	MountUser = &Trouble{
		Name: "mount-user",
		See:  "cat: /run/secrets/token: Permission denied",
		Why:  "{what} at {target} (mode {mode}) is for user {owner}, and the step runs as user {user}",
		Cure: "Give it to the step's user: {verb}(…, uid = {user}, gid = {group}); or run the step as root.",
	}
	MissingPath = &Trouble{
		Name: "missing-path",
		See:  "no such file or directory",
		Why:  "no such file or directory: {path} doesn't exist",
		Cure: "Check the path: what is above that part of it is there.",
	}
	DanglingLink = &Trouble{
		Name: "dangling-link",
		See:  "no such file or directory (and ls shows it)",
		Why:  "{path} is a symbolic link to {target}, which doesn't exist",
		Cure: "Name what the link is meant to lead to, or make the link anew.",
	}
	ReadOnlyMount = &Trouble{
		Name: "read-only-mount",
		See:  "/bin/sh: can't create /src/file: Read-only file system",
		Why:  "{path} is in the mount at {target}, which is read-only",
		Cure: "Let the step write: bind(…, rw = True) for what is to be gone with the step, volume = [\"SOURCE:TARGET\"] for what is to stay.",
	}
	UnmappedID = &Trouble{
		Name: "unmapped-id",
		See:  "chown: Invalid argument",
		Why:  "{id} isn't mapped in the user namespace: {have}",
		Cure: "Give your user at least {need} sub-IDs in /etc/subuid and /etc/subgid (usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST USER), or take a smaller ID; rlbuild doctor shows what you have.",
	}
	ContainerID = &Trouble{
		Name: "container-id",
		See:  "chown: Invalid argument (in a container with a user namespace of its own)",
		Why:  "{id} isn't mapped in the container's user namespace: {have}",
		Cure: `Map more: userns = "auto:size=…", userns_uid_map and userns_gid_map; or leave the container in rlbuild's own namespace (userns = "host").`,
	}
	OneID = &Trouble{
		Name: "one-id",
		See:  "E: setgroups 65534 failed - setgroups (1: Operation not permitted)",
		Why:  "only your own ID is mapped, and {program} wants to become another user",
		Cure: "Have newuidmap (package uidmap) and sub-IDs in /etc/subuid and /etc/subgid, as rlbuild doctor says; apt-get does without with -o APT::Sandbox::User=root.",
	}
)
