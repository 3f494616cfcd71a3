package rootless

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/rlbuild/rlbuild/engine/failure"
	"go.podman.io/storage/pkg/homedir"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// ticketName is the environment variable that tells the inner process that it is one. It is gone before any other
// process is started, so an rlbuild that a script starts enters for itself.
const ticketName = "_RLBUILD_ENTER"

// enteredMark is the last byte on the standard error pipe of a process that got to Enter.
const enteredMark = 0

// ticket holds the numbers of the two files that the process outside hands in.
type ticket struct {
	state  int // a pipe with one letter as JSON
	stderr int // the real standard error
}

func (t ticket) String() string { return fmt.Sprintf("%s=%d:%d", ticketName, t.state, t.stderr) }

// letter is what the inner process can't find out for itself.
type letter struct {
	Reason, Cure string
	User         int
	Nested       bool
}

// takeTicket removes the ticket from the environment and returns it, if there is a valid one.
func takeTicket() (ticket, bool) {
	value, ok := os.LookupEnv(ticketName)
	if !ok {
		return ticket{}, false
	}
	os.Unsetenv(ticketName)
	var t ticket
	if _, err := fmt.Sscanf(value, "%d:%d", &t.state, &t.stderr); err != nil || t.state < 3 || t.stderr < 3 {
		return ticket{}, false
	}
	var st unix.Stat_t
	if err := unix.Fstat(t.state, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return ticket{}, false // left over in somebody's environment
	}
	return t, true
}

// arrive makes the process inside at home there.
func arrive(t ticket, note func(string)) (*Namespace, error) {
	unix.CloseOnExec(t.stderr)
	state := os.NewFile(uintptr(t.state), "state")
	var l letter
	err := json.NewDecoder(state).Decode(&l)
	state.Close()
	if err != nil {
		return nil, fmt.Errorf("reading from the process outside: %w", err)
	}
	if _, err := unix.Write(unix.Stderr, []byte{enteredMark}); err != nil {
		return nil, fmt.Errorf("answering the process outside: %w", err)
	}
	if err := unix.Dup3(t.stderr, unix.Stderr, 0); err != nil {
		return nil, fmt.Errorf("taking over standard error: %w", err)
	}
	unix.Close(t.stderr)

	// Root's mount namespace is a member of the old one's peer groups: without this, every mount of a build would show up
	// outside. In a user namespace the kernel has done it. EINVAL: "/" is not a mount point, in a chroot; what a mount
	// shows up in there is private or not as the outside made it, and storage makes its own directory private.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil && err != unix.EINVAL {
		return nil, failure.New("entering a mount namespace", "", "keeping mounts inside: %w", err).
			WithHint("Something refuses mount(2), AppArmor or a container's seccomp profile perhaps; allow it or run elsewhere.").
			WithKind(failure.Machine)
	}
	ns, err := current(l)
	if err != nil {
		return nil, err
	}
	if ns.SingleID {
		note(singleIDNote(ns))
	}
	setHome()
	if err := setRuntimeDir(ns.User, note); err != nil {
		return nil, err
	}
	return ns, nil
}

// singleIDNote is the one line that says what a single mapped ID means.
func singleIDNote(ns *Namespace) string {
	return fmt.Sprintf("only one ID is mapped, so every file will be owned by one user: %s. %s", ns.Reason, ns.Cure)
}

// current describes the namespace this process is in.
func current(l letter) (*Namespace, error) {
	uids, gids, err := unshare.GetHostIDMappings("")
	if err != nil {
		return nil, err
	}
	ns := &Namespace{User: l.User, Nested: l.Nested}
	for _, m := range uids {
		ns.UIDs = append(ns.UIDs, IDMap{int(m.ContainerID), int(m.HostID), int(m.Size)})
	}
	for _, m := range gids {
		ns.GIDs = append(ns.GIDs, IDMap{int(m.ContainerID), int(m.HostID), int(m.Size)})
	}
	ns.SingleID = count(ns.UIDs) == 1 || count(ns.GIDs) == 1
	if !ns.SingleID {
		return ns, nil
	}
	ns.Reason, ns.Cure = l.Reason, l.Cure
	if ns.Reason == "" {
		ns.Reason = "the namespace rlbuild was started in maps one"
		ns.Cure = "Start rlbuild outside of it, or give it more IDs."
	}
	return ns, nil
}

func count(maps []IDMap) int {
	n := 0
	for _, m := range maps {
		n += m.Size
	}
	return n
}

// setHome sets HOME from the user database if it isn't set. Without an entry there it stays unset, and who needs a home
// directory says so.
func setHome() {
	if os.Getenv("HOME") != "" {
		return
	}
	if home, err := unshare.HomeDir(); err == nil && home != "" {
		os.Setenv("HOME", home)
	}
}

// setRuntimeDir sees to it that XDG_RUNTIME_DIR is a directory of the user's own: su and sudo leave that of the user one
// came from, and storage, runc and the credentials code would fail there one after the other.
func setRuntimeDir(user int, note func(string)) error {
	const name = "XDG_RUNTIME_DIR"
	stated := os.Getenv(name)
	fault := ""
	if stated != "" {
		if fault = runtimeDirFault(stated); fault == "" {
			return nil
		}
		os.Unsetenv(name)
	}
	if !unshare.IsRootless() {
		// Root's tools use /run when nothing else is said.
		if fault != "" {
			note(fmt.Sprintf("%s is ignored: %s %s", name, stated, fault))
		}
		return nil
	}
	dir, err := homedir.GetRuntimeDir() // /run/user/UID, or TMPDIR/storage-run-UID as podman has it
	if err != nil {
		return failure.New("finding a directory for run-time files", "", "%w", err).
			WithHint("Set %s to a directory that belongs to user %d and is closed to others (mode 0700).", name, user).
			WithKind(failure.Machine)
	}
	os.Setenv(name, dir)
	if fault != "" {
		note(fmt.Sprintf("%s is now %s: %s %s", name, dir, stated, fault))
	}
	return nil
}

// runtimeDirFault says what makes dir unfit, as the rest of a sentence that begins with it, or returns "".
func runtimeDirFault(dir string) string {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "doesn't exist"
	case errors.Is(err, fs.ErrPermission):
		return "is closed to this user"
	case err != nil:
		return "can't be used: " + strings.TrimPrefix(err.Error(), "stat ")
	case !info.IsDir():
		return "isn't a directory"
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return "belongs to another user"
	}
	if unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		return "isn't writable"
	}
	return ""
}
