package trouble

import "github.com/rlbuild/rlbuild/engine/failure"

var diskTroubles = Group{"Disk and store", []*Trouble{
	StoreClosed, OtherMap, NoExecTemp,
	NoSpace,
}}

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
	NoSpace = &Trouble{
		Name: "no-space",
		See:  "no space left on device",
		Why:  "{detail}",
		Cure: "Free some space: the store and TMPDIR need room for the image and its layers.",
	}
)
