package diagnose

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/trouble"
)

// IDRange is a range of mapped IDs, as those inside of a user namespace see them.
type IDRange struct{ First, Size uint32 }

// IDs are those that a user namespace maps.
type IDs struct{ UIDs, GIDs []IDRange }

// Mapped returns the IDs that there are inside of a user namespace with these maps.
func Mapped(uids, gids []specs.LinuxIDMapping) (ids IDs) {
	for _, m := range uids {
		ids.UIDs = append(ids.UIDs, IDRange{m.ContainerID, m.Size})
	}
	for _, m := range gids {
		ids.GIDs = append(ids.GIDs, IDRange{m.ContainerID, m.Size})
	}
	return ids
}

// OwnIDs returns the IDs that this process's user namespace maps.
func OwnIDs() (IDs, error) {
	uids, gids, err := unshare.GetHostIDMappings("")
	return Mapped(uids, gids), err
}

// isMapped tells whether an ID is in one of the ranges.
func isMapped(ranges []IDRange, id uint32) bool {
	for _, r := range ranges {
		if id >= r.First && id-r.First < r.Size {
			return true
		}
	}
	return false
}

// describeIDs says which IDs are mapped: "0 to 65536 are".
func describeIDs(ranges []IDRange) string {
	var parts []string
	next, single := uint32(0), true
	for i, r := range ranges {
		last := r.First + r.Size - 1
		single = single && r.Size == 1 && len(ranges) == 1
		if i > 0 && r.First == next {
			before, _, _ := strings.Cut(parts[len(parts)-1], " to ")
			parts[len(parts)-1] = fmt.Sprintf("%s to %d", before, last)
		} else if r.Size == 1 {
			parts = append(parts, fmt.Sprint(r.First))
		} else {
			parts = append(parts, fmt.Sprintf("%d to %d", r.First, last))
		}
		next = last + 1
	}
	if single {
		return strings.Join(parts, ", ") + " alone is"
	}
	return strings.Join(parts, ", ") + " are"
}

// Beyond returns the cause that one of two IDs isn't mapped, nil if they are. The texts may be empty, or no numbers.
func (ids IDs) Beyond(user, group string) *Cause {
	for _, one := range []struct {
		kind, text string
		ranges     []IDRange
	}{{"uid", user, ids.UIDs}, {"gid", group, ids.GIDs}} {
		id, err := strconv.ParseUint(one.text, 10, 32)
		if err != nil || isMapped(one.ranges, uint32(id)) {
			continue
		}
		return &Cause{trouble.UnmappedID, trouble.Facts{
			"id": fmt.Sprintf("%s %d", one.kind, id), "have": describeIDs(one.ranges), "need": fmt.Sprint(id)}}
	}
	return nil
}

// unmappedText matches what this program's own rooms and the library say of an owner whom nobody can have here.
var unmappedText = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:uid (\d+) or gid (-?\d+) is not mapped in this user namespace|uid -1 or gid (\d+) is not mapped|` +
		`becoming user (\d+), group (\d+): invalid argument|(?:owner|ownership) of "?([^\n"]*)"? to (\d+):(\d+)[^\n]*: invalid argument)`)
})

// UnmappedID finds an ID that isn't mapped in an error of one's own user namespace.
func UnmappedID(text string) *Cause {
	m := unmappedText().FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	ids, err := OwnIDs()
	if err != nil {
		return nil
	}
	k := ids.Beyond(cmp.Or(m[1], m[4], m[7]), cmp.Or(m[2], m[3], m[5], m[8]))
	if k != nil && m[6] != "" {
		k.Facts["id"] += " (of " + m[6] + ")"
	}
	return k
}

// ownerLine matches what programs say of an owner whom nobody can have.
var ownerLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(?:l?f?chown|chgrp|ownership|owner|setuid|setgid|setgroups|seteuid|setegid)\b.*invalid argument(?: \(\d+\))?\)?$`)
})

// ownerWord matches an owner in a command or a message.
var ownerWord = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:--owner=|--group=|-o|-g)?([\w-]*)(?:[:.]([\w-]*))?$`)
})

// inMessage matches the owners that some programs name themselves.
var inMessage = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:uid (\d+))?,? ?(?:gid (\d+))?(?:\bseteuid (\d+))?(?:\bsete?gid (\d+))?`)
})

// alone matches what programs say that want to be another user where there is none.
var alone = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^(?:[EW]: )?(?:(\S+): )?.*\b(?:setgroups|sete?[ug]id|setres[ug]id|can't set groups|cannot set groups|initgroups)\b.*(?:operation not permitted|invalid argument)`)
})

// beyond returns the cause that one of the IDs isn't mapped where the command ran.
func (s *Scene) beyond(user, group string) *Cause {
	k := s.IDs.Beyond(user, group)
	if k != nil && s.OwnIDs {
		k.Of = trouble.ContainerID
	}
	return k
}

// refusedID says which owner that a line is about isn't mapped.
func (s *Scene) refusedID(line string) *Cause {
	if len(s.IDs.UIDs) == 1 && s.IDs.UIDs[0].Size == 1 || len(s.IDs.GIDs) == 1 && s.IDs.GIDs[0].Size == 1 {
		if m := alone().FindStringSubmatch(line); m != nil && s.User.Inside.UID == 0 {
			program := cmp.Or(m[1], "apt-get")
			return &Cause{trouble.OneID, trouble.Facts{"program": program}}
		}
	}
	if !ownerLine().MatchString(line) {
		return nil
	}
	for _, m := range inMessage().FindAllStringSubmatch(line, -1) {
		if k := s.beyond(cmp.Or(m[1], m[3]), cmp.Or(m[2], m[4])); k != nil {
			return k
		}
	}
	for _, word := range s.Command.Words {
		m := ownerWord().FindStringSubmatch(word)
		if m == nil {
			continue
		}
		if strings.Contains(line, "chgrp") && m[2] == "" {
			m[1], m[2] = "", m[1]
		}
		uid, gid := s.ownerIDs(m[1], m[2])
		if k := s.beyond(uid, gid); k != nil {
			return k
		}
	}
	return nil
}

// ownerIDs returns the IDs of a user and a group of the place, numbers or names, "" for who isn't there.
func (s *Scene) ownerIDs(user, group string) (uid, gid string) {
	if s.Files == nil {
		return user, group // numbers count
	}
	if id, _, err := s.Files.LookupOwner(user, ""); err == nil && id >= 0 {
		uid = strconv.Itoa(id)
	}
	if _, id, err := s.Files.LookupOwner("", group); err == nil && id >= 0 {
		gid = strconv.Itoa(id)
	}
	return uid, gid
}
