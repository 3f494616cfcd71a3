// Package rootless enters the user and mount namespaces a build needs, or says why it can't.
//
// A process can't move itself there: making a user namespace takes a process with a single thread, and mapping more IDs
// than its own takes the privileged helpers newuidmap and newgidmap, which write the maps from outside. So Enter starts
// the same program once more, inside, and the process outside stays as its shadow: it passes signals in and the exit
// status out.
package rootless

import (
	"errors"
	"os"
	"runtime"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// IDMap is one range of a namespace's ID map: Size IDs, from ContainerID on inside, are HostID and so on outside. The
// fields are those of storage's idtools.IDMap, so one converts to the other.
type IDMap struct {
	ContainerID, HostID, Size int
}

// Namespace says what was entered.
type Namespace struct {
	UIDs, GIDs []IDMap // as the kernel has them in /proc/self/uid_map and gid_map
	SingleID   bool    // only one user ID or only one group ID is mapped
	Reason     string  // why SingleID: "newuidmap isn't installed"; "" when it isn't
	Cure       string  // what to do about SingleID, a sentence; "" when it isn't
	User       int     // the user ID outside: the caller's, also from inside an earlier namespace
	Nested     bool    // the caller was already root of a namespace other than the initial one
}

// Options are what the caller passes to Enter; the zero value is useful.
type Options struct {
	// Note takes one-line notes for the user, without a trailing newline; nil drops them.
	Note func(line string)
}

// Enter runs the program again inside a new user and mount namespace; a new mount namespace alone when the process has
// CAP_SYS_ADMIN already, as root has and as anything inside "buildah unshare" has. It returns only in the process
// inside, which has the same arguments, standard streams, open files, directory and environment. There, mounts come in
// from outside and none goes out; HOME and XDG_RUNTIME_DIR are set, the latter to a directory that is the user's own.
//
// The process outside waits, passes signals in, and exits with the inner status: 128+n when signal n ended it. It holds
// the calling goroutine's thread, because the inner process is to be killed when the outer one dies, and Linux takes the
// death of the thread that started it for that.
//
// An error is a *failure.Error of kind Machine: what this machine refuses, why, and the cure.
//
// main must have called reexec.Init (buildah.InitReexec does) before, must not have read standard input, and gets here
// twice: whatever it did before happens in both processes. What the inner process writes to standard error before Enter
// is held back until then.
func Enter(o Options) (*Namespace, error) {
	note := o.Note
	if note == nil {
		note = func(string) {}
	}
	if ticket, ok := takeTicket(); ok {
		ns, err := arrive(ticket, note)
		return ns, asMachine(err)
	}
	runtime.LockOSThread() // never unlocked: see above
	status, err := depart()
	if err != nil {
		return nil, asMachine(err)
	}
	os.Exit(status)
	panic("unreachable")
}

// asMachine returns err as a *failure.Error, nil as nil.
func asMachine(err error) error {
	if err == nil || errors.As(err, new(*failure.Error)) {
		return err
	}
	return failure.New("entering a namespace", "", "%w", err).WithKind(failure.Machine).
		WithHint("See that /proc is mounted and that this process may start others.")
}
