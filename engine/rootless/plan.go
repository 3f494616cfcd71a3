package rootless

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/user"
	"strconv"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// caller is the process as it was started, as far as entering depends on it.
type caller struct {
	uid, gid   int    // effective
	outside    int    // the user ID before any earlier namespace
	name       string // login name; the number when the user database doesn't know it
	nested     bool
	admin      bool                   // has CAP_SYS_ADMIN
	setIDs     bool                   // has CAP_SETUID, CAP_SETGID and CAP_SETFCAP, with which root may map any ID it sees
	uids, gids []specs.LinuxIDMapping // what is mapped where it was started; the HostIDs say nothing
}

// whoIs returns the caller that left.
func whoIs(left departure) (caller, error) {
	me := caller{uid: left.uid, gid: left.gid, outside: left.uid}
	if id, err := strconv.Atoi(os.Getenv(rootlessUID)); err == nil {
		me.outside = id
	}
	me.name = strconv.Itoa(me.uid)
	if u, err := user.LookupId(me.name); err == nil && u.Username != "" {
		me.name = u.Username
	}
	still := "self"
	if left.outside != nil {
		still = strconv.Itoa(left.outside.pid)
	}
	var err error
	if me.uids, me.gids, err = unshare.GetHostIDMappings(still); err != nil {
		return caller{}, err
	}
	all := len(me.uids) == 1 && me.uids[0].Size == math.MaxUint32 // the initial namespace maps all but the last number
	me.nested = me.uid == 0 && !all
	has := func(c capability.Cap) bool { return left.capabilities>>c&1 == 1 }
	me.admin = has(capability.CAP_SYS_ADMIN)
	me.setIDs = has(capability.CAP_SETUID) && has(capability.CAP_SETGID) && has(capability.CAP_SETFCAP)
	return me, nil
}

// plan is how to enter.
type plan struct {
	user       bool                   // a user namespace too, not a mount namespace alone
	uids, gids []specs.LinuxIDMapping // to map in the user namespace
	helpers    []string               // paths of newuidmap and newgidmap, if they are to write the maps
	setgroups  bool                   // setgroups(2) may be used; the kernel wants that denied for a map of one's own ID
	reason     string                 // why one ID is all there is, and what to do about it
	cure       string
}

// plan decides what is mapped.
func (me caller) plan() plan {
	if me.uid == 0 && me.admin {
		return plan{}
	}
	p := plan{
		user: true,
		uids: []specs.LinuxIDMapping{{HostID: uint32(me.uid), Size: 1}},
		gids: []specs.LinuxIDMapping{{HostID: uint32(me.gid), Size: 1}},
	}
	if me.uid == 0 {
		// Root of a plain container: map everything it has to itself, so that files look the same in there.
		if !me.setIDs {
			p.reason = "root has neither CAP_SYS_ADMIN nor the right to map other IDs here"
			p.cure = "Add CAP_SETUID, CAP_SETGID and CAP_SETFCAP to the container."
			return p
		}
		p.uids, p.gids, p.setgroups = identity(me.uids), identity(me.gids), true
		return p
	}
	helpers, reason, cure := findHelpers()
	if reason != "" {
		p.reason, p.cure = reason, cure
		return p
	}
	uids, gids, reason := me.subIDs()
	if reason != "" {
		p.reason, p.cure = reason, me.addRanges()
		return p
	}
	p.uids, p.gids = append(p.uids, uids...), append(p.gids, gids...)
	p.helpers, p.setgroups = helpers, true
	return p
}

// identity returns maps under which every ID of the current namespace is itself.
func identity(maps []specs.LinuxIDMapping) []specs.LinuxIDMapping {
	var same []specs.LinuxIDMapping
	for _, m := range maps {
		same = append(same, specs.LinuxIDMapping{ContainerID: m.ContainerID, HostID: m.ContainerID, Size: m.Size})
	}
	return same
}

// findHelpers returns the paths of newuidmap and newgidmap, or says why they can't do their work, and the cure. Whose they
// are can't be told: no owner is mapped yet.
func findHelpers() (paths []string, reason, cure string) {
	privileges := []capability.Cap{capability.CAP_SETUID, capability.CAP_SETGID}
	for i, name := range []string{"newuidmap", "newgidmap"} {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, name + " isn't installed, or isn't in PATH",
				"Install the package it comes in: uidmap (Debian, Ubuntu), shadow-utils (Fedora, RHEL), shadow (Arch, openSUSE), shadow-uidmap (Alpine)."
		}
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err == nil && st.Flags&unix.ST_NOSUID != 0 {
			return nil, path + " is on a file system mounted nosuid", "Have one that isn't, or mount that one without nosuid."
		}
		// Fedora's have file capabilities instead of the setuid bit. Reading those is an error (EOVERFLOW) when there are
		// any, since their root isn't ours.
		if ok, err := unshare.IsSetID(path, os.ModeSetuid, privileges[i]); err == nil && !ok {
			return nil, path + " is neither setuid root nor has the file capability it needs",
				fmt.Sprintf("Install it anew, or run \"chmod u+s %s\" as root.", path)
		}
		paths = append(paths, path)
	}
	if nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && nnp == 1 {
		return nil, "no_new_privs is set, under which newuidmap gets no privilege",
			"Run rlbuild outside of whatever sets it: NoNewPrivileges= of a systemd unit, no-new-privileges of a container, a sandbox."
	}
	return paths, "", ""
}

// subIDs returns the ranges set aside for the caller, to be mapped from 1 on, or why there are none.
func (me caller) subIDs() (uids, gids []specs.LinuxIDMapping, reason string) {
	found, err := idtools.NewIDMappings(me.name, me.name)
	if missing := (*fs.PathError)(nil); errors.As(err, &missing) && errors.Is(err, fs.ErrNotExist) {
		return nil, nil, missing.Path + " doesn't exist"
	}
	if err != nil {
		return nil, nil, err.Error()
	}
	uids = usable(found.UIDs(), me.uid, me.uids)
	gids = usable(found.GIDs(), me.gid, me.gids)
	if len(uids) == 0 || len(gids) == 0 {
		return nil, nil, fmt.Sprintf("the ranges of %s in /etc/subuid and /etc/subgid don't exist in this container", me.name)
	}
	return uids, gids, ""
}

// usable turns ranges, sorted by their first ID, into maps from 1 on. What the kernel would refuse the whole map for is
// left out: IDs named twice, the caller's own, and those that the current namespace hasn't got.
func usable(ranges []idtools.IDMap, own int, have []specs.LinuxIDMapping) []specs.LinuxIDMapping {
	var maps []specs.LinuxIDMapping
	inside, last := 1, -1
	add := func(first, end int) {
		if first < end {
			maps = append(maps, specs.LinuxIDMapping{ContainerID: uint32(inside), HostID: uint32(first), Size: uint32(end - first)})
			inside += end - first
		}
	}
	for _, r := range ranges {
		for _, h := range have {
			first := max(r.HostID, int(h.ContainerID), last+1)
			// A range may claim any length: keep its end from overflowing.
			end := min(r.HostID+min(r.Size, math.MaxUint32), int(h.ContainerID)+int(h.Size), math.MaxUint32)
			if first >= end {
				continue
			}
			last = end - 1
			if first <= own && own < end {
				add(first, own)
				first = own + 1
			}
			add(first, end)
		}
	}
	return maps
}

// addRanges returns the command that gives the caller sub-IDs, from the first number nobody has.
func (me caller) addRanges() string {
	const size = 65536 // what useradd gives, and what images are made for
	free := 100000
	if all, err := idtools.NewIDMappings("ALL", "ALL"); err == nil {
		for _, m := range append(all.UIDs(), all.GIDs()...) {
			if end := m.HostID + m.Size; end > free && end < math.MaxInt32-size {
				free = end
			}
		}
	}
	r := fmt.Sprintf("%d-%d", free, free+size-1)
	return fmt.Sprintf("Run \"usermod --add-subuids %s --add-subgids %s %s\" as root.", r, r, me.name)
}
