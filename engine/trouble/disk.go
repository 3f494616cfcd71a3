package trouble

import "github.com/rlbuild/rlbuild/engine/failure"

var diskTroubles = Group{"Disk and store", []*Trouble{
	StoreClosed, OtherMap, SeveralDrivers, SlowDriver, NoExecTemp,
	StoreFull, TempFull, RunRootFull, NoSpace, StoreReadOnly, TempReadOnly, RunRootReadOnly, StoreGone, TempGone,
}}

// What the store can't be used for, or badly.
var (
	StoreClosed = &Trouble{
		Name: "store-closed",
		See:  "mkdir …/containers/storage: permission denied",
		Why:  "{obstacle}",
		Cure: "Name a directory of your own with --root or --runroot, or have this one given to you; each directory above it must let you pass (chmod o+x).",
		Kind: failure.Machine,
	}
	NoExecTemp = &Trouble{
		Name: "tmpdir-noexec",
		See:  "exec: …/rlbuild-…/runc-…: permission denied",
		Why:  "the program that gives an OCI runtime's step its input would be executed in {dir}, which is mounted noexec",
		Cure: "Name another directory in TMPDIR; with isolation = \"sandbox\" or \"chroot\" none is needed.",
	}
	OtherMap = &Trouble{
		Name: "other-map",
		See:  "containers/storage/overlay/…: permission denied",
		Why:  "{path} belongs to {whose} whose ID isn't mapped now: it was written under other ranges of sub-IDs, or by somebody else",
		Cure: "Give your user those ranges again in /etc/subuid and /etc/subgid (as root, stat -c '%u %g' {path} shows the owner's IDs, which they must hold)," +
			" or begin another store with --root.",
		Kind: failure.Machine,
	}
	SeveralDrivers = &Trouble{
		Name: "several-drivers",
		See:  "…/containers/storage contains several valid graphdrivers: overlay, vfs",
		Why:  "{path} holds the folders of several drivers, {drivers}; {driver} is used, which {reason}",
		Cure: "Name the one that you mean with --storage-driver, or with driver in storage.conf; podman and buildah need that as well.",
	}
	SlowDriver = &Trouble{
		Name: "slow-driver",
		See:  "every from_ and commit takes long, and the disk fills",
		Why:  "the store's driver is vfs ({slow}); it {reason}",
		Cure: "Use overlay: on a local file system with Linux 5.13 or later, or with fuse-overlayfs; a store that vfs has written stays with it, --root begins another.",
	}
)

// What is full. The symptom is the same, so the facts tell them apart: where the file was, or which file system is full.
var (
	StoreFull = &Trouble{
		Name: "store-full",
		See:  "no space left on device",
		Why:  "the file system of the store, {path}, ran full: {detail}",
		Cure: `Free some space there, for example by removing images: rlbuild -c 'remove(images(filter = "dangling=true"))'; or keep the store elsewhere: --root`,
	}
	TempFull = &Trouble{
		Name: "tmpdir-full",
		See:  "no space left on device",
		Why:  "the file system of temporary files, {path}, ran full: {detail}",
		Cure: "Free some space there, or name a directory with room for whole images in TMPDIR.",
	}
	RunRootFull = &Trouble{
		Name: "run-root-full",
		See:  "no space left on device",
		Why:  "the file system of the store's run root, {path}, ran full: {detail}",
		Cure: "Free some space there: it is usually the one of XDG_RUNTIME_DIR; or name another directory: --runroot",
	}
	NoSpace = &Trouble{
		Name: "no-space",
		See:  "no space left on device",
		Why:  "{path} ran full: {detail}",
		Cure: "Free some space there.",
	}
)

// What can't be written any more.
var (
	StoreReadOnly = &Trouble{
		Name: "store-read-only",
		See:  "read-only file system",
		Why:  "the file system of the store, {path}, takes no changes: it is mounted read-only, or shut for errors",
		Cure: "Look at dmesg for errors, and have the file system checked; or keep the store elsewhere: --root",
	}
	TempReadOnly = &Trouble{
		Name: "tmpdir-read-only",
		See:  "read-only file system",
		Why:  "the file system of temporary files, {path}, takes no changes: it is mounted read-only, or shut for errors",
		Cure: "Name a directory that you can write to in TMPDIR.",
	}
	RunRootReadOnly = &Trouble{
		Name: "run-root-read-only",
		See:  "read-only file system",
		Why:  "the file system of the store's run root, {path}, takes no changes: it is mounted read-only, or shut for errors",
		Cure: "Name another directory: --runroot",
	}
)

// What is gone. Nothing of rlbuild's deletes these while it runs.
var (
	StoreGone = &Trouble{
		Name: "store-gone",
		See:  "no such file or directory",
		Why:  "the store, {path}, was deleted, moved or unmounted while the script ran",
		Cure: "Bring it back, or start again with an empty one.",
		Kind: failure.Machine,
	}
	TempGone = &Trouble{
		Name: "tmpdir-gone",
		See:  "no such file or directory",
		Why:  "the run's directory for temporary files, {path}, was deleted while the script ran",
		Cure: "Start again, with TMPDIR naming a directory that nothing cleans up.",
	}
)
