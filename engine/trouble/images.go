package trouble

var imageTroubles = Group{"Images", []*Trouble{
	ShortName, ShortNameChoice, NotInStore, Signatures, ArchiveThere, TooManyLayers, ImageIDs, AutoIDs,
}}

var (
	ShortName = &Trouble{
		Name: "short-name",
		See:  "short-name did not resolve to an alias",
		Why:  "a short name, and this machine has no list of registries to look it up in",
		Cure: `Write the whole name, for example "docker.io/library/{name}"; or list registries in {file}: unqualified-search-registries = ["docker.io"]`,
	}
	ShortNameChoice = &Trouble{
		Name: "short-name-choice",
		See:  "short-name resolution enforced but cannot prompt without a TTY",
		Why:  "a short name that several registries may have, and registries.conf wants a person to choose (short-name-mode)",
		Cure: `Write the whole name, for example "docker.io/library/debian:bookworm".`,
	}
	NotInStore = &Trouble{
		Name: "not-in-store",
		See:  "image not known",
		Why:  "no such image in the store",
		Cure: `Check the name (the store holds "localhost/app:latest" for an image committed as "app"), or pull it first.`,
	}
	Signatures = &Trouble{
		Name: "signatures",
		See:  "Would invalidate signatures",
		Why:  "the image has signatures that can't go along: they hold for its manifest as it was signed, or there is no place for them",
		Cure: "Leave them out: remove_signatures = True",
	}
	ArchiveThere = &Trouble{
		Name: "docker-archive-exists",
		See:  "docker-archive doesn't support modifying existing images",
		Why:  "the file is there already, and images can't be added to a docker-archive",
		Cure: "Remove the file first: path(…).remove(missing_ok = True)",
	}
	TooManyLayers = &Trouble{
		Name: "too-many-layers",
		See:  "max depth exceeded",
		Why:  "the image has more than 500 layers, which is as many as overlay puts on top of each other",
		Cure: "Have it made of fewer, as commit does with squash = True; another driver has no such limit: --storage-driver vfs, with a --root of its own",
	}
	ImageIDs = &Trouble{
		Name: "image-ids",
		See:  "potentially insufficient UIDs or GIDs available in user namespace",
		Why:  "the image holds files of owners that aren't mapped here: {detail}",
		Cure: "Give your user more sub-IDs in /etc/subuid and /etc/subgid{more}; rlbuild doctor shows what you have.",
	}
	AutoIDs = &Trouble{
		Name: "auto-ids",
		See:  "not enough unused IDs in user namespace",
		Why:  "not so many IDs are left for an automatic user namespace: each container of the store has its own",
		Cure: `Ask for less (userns = "auto:size=…"), remove containers, or give your user more sub-IDs; root needs those of a user called containers.`,
	}
)
