package sandbox

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The kinds and places of operations, as child.h has them.
const (
	opStage = iota
	opMount
	opBind
	opFile
	opDirectory
	opLink
	opSysctl
	opReadOnly
	opMask
)

const (
	inRoot = iota
	inStage
	inDev
	inProc
	inSys
	nowhere = -1
)

// What is made where a target is missing.
const (
	makeNothing = iota
	makeFile
	makeDirectory
)

// operation is one line of what the child does before it leaves the host's tree.
type operation struct {
	kind, place    int
	source, target string
	options        string
	content        []byte
	mode           uint32
	attributes     uint64
	propagation    uint64
	keep, make     int
	doing          string // for an error
}

const (
	noSuid    = unix.MOUNT_ATTR_NOSUID
	noDev     = unix.MOUNT_ATTR_NODEV
	noExec    = unix.MOUNT_ATTR_NOEXEC
	readOnly  = unix.MOUNT_ATTR_RDONLY
	noAccess  = noSuid | noDev | noExec
	shmSize   = "65536k"
	ttyGroup  = 5 // of devpts(5), by old convention
	devOption = "mode=0755,size=65536k"
)

// devices are what every container finds in /dev, from the host, because a user can't make device nodes.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// links are the rest of /dev (devices.rst of the kernel's documentation, and the runtime specification).
var links = [][2]string{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

// plan lists the operations in order. Files and binds come first: their targets are the image's to choose, and so can't
// lead into /proc, /sys and /dev as the step will see them. Those whose target is written as one below these come last.
func (s *Step) plan() []operation {
	ops := []operation{{kind: opStage, target: s.Stage, doing: "mounting tmpfs for the step's own files"}}
	early, late := s.planShown()
	ops = append(append(ops, early...), s.planProc())
	ops = append(ops, s.planSys()...)
	ops = append(ops, s.planDev()...)
	for _, c := range s.Sysctls {
		ops = append(ops, operation{kind: opSysctl, place: inProc, content: []byte(c.Value),
			target: "sys/" + strings.ReplaceAll(c.Name, ".", "/"), doing: "setting " + c.Name})
	}
	for _, name := range s.ReadOnly {
		if place, target := below(name); place != nowhere {
			ops = append(ops, operation{kind: opReadOnly, place: place, target: target, attributes: readOnly | noAccess,
				doing: "making " + name + " read-only"})
		}
	}
	for _, name := range s.Masked {
		place, target := below(name)
		if place == nowhere {
			place, target = inRoot, name
		}
		ops = append(ops, operation{kind: opMask, place: place, target: target, doing: "masking " + name})
	}
	ops = append(ops, late...)
	for i := range ops {
		if o := &ops[i]; o.keep == 0 {
			o.keep = nowhere // no mount is ever kept as the root
		}
		if o := &ops[i]; o.kind == opMount {
			o.doing = "mounting " + o.source + " on " + shown(o.place, o.target)
		}
	}
	return ops
}

// planShown shows binds and files, those at the fewest directories from the root first: what is mounted later would
// hide the others.
func (s *Step) planShown() (early, late []operation) {
	var ops []operation
	for _, b := range s.Binds {
		o := operation{kind: opBind, source: b.Source, target: b.Target, propagation: b.Propagation, make: makeDirectory,
			doing: "binding " + b.Source + " on " + b.Target}
		if b.ReadOnly {
			o.attributes = readOnly
		}
		if info, err := os.Stat(b.Source); err == nil && !info.IsDir() {
			o.make = makeFile
		}
		ops = append(ops, o)
	}
	for i, f := range s.Files {
		ops = append(ops, operation{kind: opFile, source: "file" + strconv.Itoa(i), target: f.Target, content: f.Content,
			mode: uint32(f.Mode.Perm()), make: makeFile, attributes: noSuid | noDev, doing: "mounting a file on " + f.Target})
	}
	slices.SortStableFunc(ops, func(a, b operation) int { return strings.Count(a.target, "/") - strings.Count(b.target, "/") })
	for _, o := range ops {
		place, target := below(o.target)
		if rest, ok := strings.CutPrefix(o.target, "/dev/"); ok {
			place, target = inDev, rest
		}
		if place == nowhere {
			early = append(early, o)
			continue
		}
		if o.place, o.target = place, target; place != inDev {
			o.make = makeNothing // there is what the kernel puts there
		}
		late = append(late, o)
	}
	return early, late
}

// planProc shows /proc. Only who owns a pid namespace may mount one of it; among the host's processes the host's is shown.
func (s *Step) planProc() operation {
	if s.HostPID {
		return operation{kind: opBind, source: "/proc", target: "/proc", attributes: noAccess, keep: inProc, doing: "binding /proc"}
	}
	return operation{kind: opMount, source: "proc", target: "/proc", attributes: noAccess, keep: inProc}
}

// planSys shows /sys. A new sysfs shows the network namespace of who mounts it, and may only be mounted by its owner; in
// the host's network namespace the host's own is shown.
func (s *Step) planSys() []operation {
	if s.Network.Host {
		return []operation{{kind: opBind, source: "/sys", target: "/sys", attributes: readOnly | noAccess, keep: inSys,
			doing: "binding /sys"}}
	}
	ops := []operation{{kind: opMount, source: "sysfs", target: "/sys", attributes: readOnly | noAccess, keep: inSys}}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		ops = append(ops, operation{kind: opMount, source: "cgroup2", place: inSys, target: "fs/cgroup",
			attributes: readOnly | noAccess})
	}
	return ops
}

func (s *Step) planDev() []operation {
	uid, gid := s.hostID(0, 0)
	owner := fmt.Sprintf(",uid=%d,gid=%d", uid, gid)
	ops := []operation{{kind: opMount, source: "tmpfs", target: "/dev", options: devOption + owner,
		attributes: noSuid | unix.MOUNT_ATTR_STRICTATIME, keep: inDev}}
	made := map[string]bool{}
	for _, d := range s.Devices {
		ops = append(ops, planDevice(d, made)...)
	}
	for _, name := range devices {
		if made[name] {
			continue // what is asked for comes first
		}
		ops = append(ops, operation{kind: opBind, place: inDev, source: "/dev/" + name, target: name, mode: 0o644,
			attributes: noSuid, doing: "binding /dev/" + name})
	}
	for _, link := range links {
		if !made[link[0]] {
			ops = append(ops, operation{kind: opLink, place: inDev, source: link[1], target: link[0],
				doing: "linking /dev/" + link[0]})
		}
	}
	ops = append(ops, directory("pts", made)...)
	ops = append(ops, operation{kind: opMount, place: inDev, source: "devpts", target: "pts", options: s.ptsOptions(),
		attributes: noSuid | noExec})
	for _, m := range []struct{ kind, name, options string }{
		{"tmpfs", "shm", "mode=1777,size=" + cmp.Or(s.ShmSize, shmSize) + owner}, {"mqueue", "mqueue", ""},
	} {
		o := operation{kind: opMount, place: inDev, source: m.kind, target: m.name, options: m.options, attributes: noAccess}
		if s.IPC.Host {
			if _, err := os.Stat("/dev/" + m.name); err != nil {
				continue // the host has none
			}
			o = operation{kind: opBind, place: inDev, source: "/dev/" + m.name, target: m.name, attributes: noAccess,
				doing: "binding /dev/" + m.name}
		}
		ops = append(append(ops, directory(m.name, made)...), o)
	}
	return ops
}

// planDevice shows a device of the host, or a directory of them, below /dev.
func planDevice(d Bind, made map[string]bool) (ops []operation) {
	target := strings.TrimPrefix(path.Clean(d.Target), "/dev/")
	if made[target] {
		return nil
	}
	ops = directory(path.Dir(target), made)
	o := operation{kind: opBind, place: inDev, source: d.Source, target: target, mode: 0o644, attributes: noSuid | noExec,
		doing: "binding " + d.Source + " on " + d.Target}
	if info, err := os.Stat(d.Source); err == nil && info.IsDir() {
		ops, o.mode = append(ops, directory(target, made)...), 0
	}
	made[target] = true
	return append(ops, o)
}

// directory makes a directory below /dev, and those above it.
func directory(name string, made map[string]bool) []operation {
	if name == "." || made[name] {
		return nil
	}
	made[name] = true
	return append(directory(path.Dir(name), made),
		operation{kind: opDirectory, place: inDev, target: name, mode: 0o755, doing: "making /dev/" + name})
}

// ptsOptions leave the group of terminals out where that group isn't mapped: devpts would refuse it.
func (s *Step) ptsOptions() string {
	options := "newinstance,ptmxmode=0666,mode=0620"
	_, group := s.hostID(0, ttyGroup)
	if data, err := os.ReadFile("/proc/self/gid_map"); err == nil && group != 0 && maps(data, uint64(group)) {
		options += fmt.Sprintf(",gid=%d", group)
	}
	return options
}

// maps tells whether the lines of a /proc/PID/gid_map map an ID.
func maps(data []byte, id uint64) bool {
	for line := range bytes.Lines(data) {
		var n [3]uint64
		fields := bytes.Fields(line)
		if len(fields) != len(n) {
			continue
		}
		for i, field := range fields {
			n[i], _ = strconv.ParseUint(string(field), 10, 64) // the kernel writes numbers
		}
		if n[0] <= id && id-n[0] < n[2] {
			return true
		}
	}
	return false
}

// below returns which mount of ours a path lies in, and the rest of the path.
func below(name string) (place int, rest string) {
	if rest, ok := strings.CutPrefix(name, "/proc/"); ok {
		return inProc, rest
	}
	if rest, ok := strings.CutPrefix(name, "/sys/"); ok {
		return inSys, rest
	}
	if rest, ok := strings.CutPrefix(name, "/dev/"); ok {
		return inDev, rest
	}
	return nowhere, ""
}

func shown(place int, target string) string {
	switch place {
	case inDev:
		return "/dev/" + target
	case inProc:
		return "/proc/" + target
	case inSys:
		return "/sys/" + target
	}
	return target
}
