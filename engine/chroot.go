package engine

import (
	"os"
	_ "unsafe" // for the link name
)

// canChroot is a variable of the library's: whether what it copies is looked up by a process of its own with the container
// for its root directory, so that no link leads out. It is set once, when the program starts; by then this process is in
// its namespace, but its user isn't mapped there before rootless.Enter, and would be taken for nobody in particular for the
// rest of the run. There is no other way to set it. The test path_hostile fails without it, and so if the library renames it.
//
//go:linkname canChroot go.podman.io/buildah/copier.canChroot
var canChroot bool

// lookAgain sets it as the library does, now that the user is mapped.
func lookAgain() { canChroot = os.Getuid() == 0 }
