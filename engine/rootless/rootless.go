// Package rootless enters the user and mount namespaces a build needs, or says why it can't.
//
// A process can't make a user namespace for itself once it has a second thread, which a Go program always has; and mapping
// more IDs than its own takes the privileged helpers newuidmap and newgidmap, which write the maps from outside. The
// usual way is to start the program a second time, inside, and to keep the first one as its shadow. That costs a whole
// start, and signals, status and terminal have to be passed between the two. Here it is one process:
//
//  1. Before the Go runtime starts, leave.c forks a process that stays outside, a few pages of C that wait, and moves this
//     one to new namespaces, where nobody is mapped yet. What refuses that is written down for later. Files are open to it
//     as ever, so the program can read its command line and script; without a use for namespaces it exits, and nothing has
//     happened.
//  2. Enter decides in Go what to map (plan.go) and sends the process outside on its errands: to write the maps, or to run
//     newuidmap and newgidmap, at the same time. That process ends with it.
//  3. With the maps written this process is root inside. It slaves its mounts and sees to its environment.
//
// leave.c acts when the program is called by its usual name, rlbuild, or when a variable in the environment asks for it.
// Under any other name, as in tests, Enter sets that variable and executes the program anew.
package rootless

import (
	"errors"
	"time"

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

// Enter moves the process to a new user and mount namespace; to a new mount namespace alone when it has CAP_SYS_ADMIN
// already, as root has and as anything inside "buildah unshare" has. There, mounts come in from outside and none goes out;
// HOME and XDG_RUNTIME_DIR are set, the latter to a directory that is the user's own. Process ID, arguments, standard
// streams, open files and directory stay.
//
// An error is a *failure.Error of kind Machine: what this machine refuses, why, and the cure.
//
// A program may get to Enter twice, having been executed anew by the first call: it must not have read standard input
// before, and whatever else it did happens twice. Before Enter the user's own files can be read, but not what
// takes a capability; owners can't be told; and nothing may ask the libraries whether the process is rootless, because
// they remember the answer.
func Enter(o Options) (*Namespace, error) { return enter(o, &journey{}) }

// journey is what became known on the way in.
type journey struct {
	survey bool // look around before leaving for good, for Checkup
	seen   sights
	me     caller
	plan   plan
	mapped bool // the process is inside and has its IDs
}

// patience bounds the wait for each thing that is done outside.
const patience = 30 * time.Second

func enter(o Options, j *journey) (*Namespace, error) {
	note := o.Note
	if note == nil {
		note = func(string) {}
	}
	left, err := departed()
	if err != nil {
		return nil, asMachine(err)
	}
	defer left.outside.dismiss()
	if j.me, err = whoIs(left); err != nil {
		return nil, asMachine(err)
	}
	left.outside.hurry(patience)
	if j.survey {
		j.seen = lookAround(left, j.me)
	}
	if left.err != nil {
		return nil, explain(j.me, left.user, left.err)
	}
	j.plan = j.me.plan()
	if j.plan.user {
		if err := j.plan.mapIDs(j.me, left.outside); err != nil {
			return nil, explain(j.me, true, err)
		}
	}
	j.mapped = true
	ns, err := arrive(j.me, j.plan, note)
	return ns, asMachine(err)
}

// asMachine returns err as a *failure.Error, nil as nil.
func asMachine(err error) error {
	if err == nil || errors.As(err, new(*failure.Error)) {
		return err
	}
	return failure.New("entering a namespace", "", "%w", err).WithKind(failure.Machine).
		WithHint("See that /proc is mounted and that this process may start others.")
}
