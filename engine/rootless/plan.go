package rootless

import (
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

	"github.com/rlbuild/rlbuild/engine/filesystem"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// idRange is a part of a map as the runtime specification has it.
type idRange = specs.LinuxIDMapping

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

// because says why one ID is all there is.
func (p *plan) because(t *trouble.Trouble, facts trouble.Facts) {
	p.reason, p.cure = t.Reason(nil, facts).Error(), t.Hint(facts)
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
			p.because(trouble.RootNoSetID, nil)
			return p
		}
		p.uids, p.gids, p.setgroups = identity(me.uids), identity(me.gids), true
		return p
	}
	helpers, why, facts := findHelpers()
	if why != nil {
		p.because(why, facts)
		return p
	}
	uids, gids, why, facts := me.subIDs()
	if why != nil {
		p.because(why, facts)
		return p
	}
	p.uids, p.gids = append(p.uids, uids...), append(p.gids, gids...)
	p.helpers, p.setgroups = []string{helpers[0].path, helpers[1].path}, true
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

// helper is a program that writes maps, as far as it was found out.
type helper struct {
	name, path string
	how        string // what gives it its privilege: "setuid", "file capabilities"
	nosuid     bool   // the file system that it is on gives none
}

// findHelpers returns newuidmap and newgidmap, and what keeps the first useless one of them from its work. Whose they are
// can't be told: no owner is mapped yet.
func findHelpers() (found []helper, why *trouble.Trouble, facts trouble.Facts) {
	for _, name := range []string{"newuidmap", "newgidmap"} {
		h, fault, details := findHelper(name)
		if found = append(found, h); why == nil {
			why, facts = fault, details
		}
	}
	if why == nil && noNewPrivs() {
		why = trouble.NoNewPrivs
	}
	return found, why, facts
}

func findHelper(name string) (h helper, why *trouble.Trouble, facts trouble.Facts) {
	h.name = name
	var err error
	if h.path, err = exec.LookPath(name); err != nil {
		h.path = ""
		return h, trouble.NoMapHelper, trouble.Facts{"helper": name}
	}
	facts = trouble.Facts{"path": h.path}
	needed := map[string]capability.Cap{"newuidmap": capability.CAP_SETUID, "newgidmap": capability.CAP_SETGID}[name]
	// Fedora's have file capabilities instead of the setuid bit. Reading those is an error (EOVERFLOW) when there are
	// any, since their root isn't ours.
	switch setuid, err := unshare.IsSetID(h.path, os.ModeSetuid, needed); {
	case err == nil && !setuid:
		why = trouble.HelperPowerless
	case err != nil:
		h.how = "file capabilities"
	default:
		h.how = "setuid"
		if info, err := os.Stat(h.path); err == nil && info.Mode()&os.ModeSetuid == 0 {
			h.how = "file capabilities"
		}
	}
	if on, err := filesystem.Of(h.path); err == nil && on.Has(unix.ST_NOSUID) {
		h.nosuid = true
		why = trouble.HelperNoSUID
	}
	return h, why, facts
}

func noNewPrivs() bool {
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && set == 1
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
