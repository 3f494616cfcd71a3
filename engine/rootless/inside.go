package rootless

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"go.podman.io/storage/pkg/homedir"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/trouble"
)

// What the libraries and podman know a rootless process by.
const (
	configured  = "_CONTAINERS_USERNS_CONFIGURED"
	rootlessUID = "_CONTAINERS_ROOTLESS_UID"
	rootlessGID = "_CONTAINERS_ROOTLESS_GID"
)

// arrive makes the process at home in its new namespaces.
func arrive(me caller, p plan, note func(string)) (*Namespace, error) {
	// Root's mount namespace is a member of the old one's peer groups: without this, every mount of a build would show up
	// outside. In a user namespace the kernel has done it. EINVAL: "/" is not a mount point, in a chroot; what a mount
	// shows up in there is private or not as the outside made it, and storage makes its own directory private.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil && err != unix.EINVAL {
		return nil, trouble.MountRefused.Explain("entering a mount namespace", "", err, trouble.Facts{"detail": err.Error()})
	}
	if p.user {
		introduce(me)
	}
	ns, err := current(me, p)
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

// introduce tells the libraries who was there before the user namespace.
func introduce(me caller) {
	os.Setenv(configured, "done")
	os.Setenv(rootlessUID, strconv.Itoa(me.outside))
	if os.Getenv(rootlessGID) == "" {
		os.Setenv(rootlessGID, strconv.Itoa(me.gid))
	}
}

// singleIDNote is the one line that says what a single mapped ID means.
func singleIDNote(ns *Namespace) string {
	return fmt.Sprintf("only one ID is mapped, so every file will be owned by one user: %s. %s", ns.Reason, ns.Cure)
}

// current describes the namespace this process is in.
func current(me caller, p plan) (*Namespace, error) {
	uids, gids, err := unshare.GetHostIDMappings("")
	if err != nil {
		return nil, err
	}
	ns := &Namespace{User: me.outside, Nested: me.nested}
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
	ns.Reason, ns.Cure = p.reason, p.cure
	if ns.Reason == "" {
		p.because(trouble.OneIDMapped, nil)
		ns.Reason, ns.Cure = p.reason, p.cure
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

// findingRuntimeDir is what fails when there is no directory to be had.
const findingRuntimeDir = "finding a directory for run-time files"

// setRuntimeDir sees to it that XDG_RUNTIME_DIR is a directory of the user's own: su and sudo leave that of the user one
// came from, and storage, runc and the credentials code would fail there one after the other.
func setRuntimeDir(user int, note func(string)) error {
	const name = "XDG_RUNTIME_DIR"
	stated := os.Getenv(name)
	fault := ""
	if stated != "" {
		if fault = dirFault(stated); fault == "" {
			return nil
		}
		os.Unsetenv(name)
	}
	if !unshare.IsRootless() {
		// Root's tools use /run when nothing else is said.
		if fault != "" {
			note(runtimeDirReason(stated, fault, "it is ignored"))
		}
		return nil
	}
	dir, err := homedir.GetRuntimeDir() // /run/user/UID, or TMPDIR/storage-run-UID as podman has it
	if err != nil {
		return trouble.NoRuntimeDir.Explain(findingRuntimeDir, "", err,
			trouble.Facts{"detail": err.Error(), "user": strconv.Itoa(user)})
	}
	os.Setenv(name, dir)
	if fault != "" {
		note(runtimeDirReason(stated, fault, dir+" is used instead"))
	}
	return nil
}

// runtimeDirReason says what is wrong with the directory that is stated, and what is used.
func runtimeDirReason(stated, fault, used string) string {
	return trouble.RuntimeDir.Reason(nil, trouble.Facts{"path": stated, "detail": fault, "used": used}).Error()
}

// othersDir is the fault of a directory that isn't the user's.
const othersDir = "belongs to another user"

// dirFault says what makes dir unfit, as the rest of a sentence that begins with it, or returns "".
func dirFault(dir string) string {
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
		return othersDir
	}
	if unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		return "isn't writable"
	}
	return ""
}
