package engine

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.podman.io/buildah/util"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// idRange is a range of mapped IDs.
type idRange struct{ first, size uint32 }

// ownIDs are the IDs that this process's user namespace maps.
func ownIDs() (uids, gids []idRange, err error) {
	u, g, err := unshare.GetHostIDMappings("")
	for _, m := range u {
		uids = append(uids, idRange{m.ContainerID, m.Size})
	}
	for _, m := range g {
		gids = append(gids, idRange{m.ContainerID, m.Size})
	}
	return uids, gids, err
}

// mappedIDs are the IDs that there are for the container's steps.
func (c *Container) mappedIDs() (uids, gids []idRange, err error) {
	ids := c.builder.IDMappingOptions
	if len(ids.UIDMap) == 0 {
		return ownIDs()
	}
	for _, m := range ids.UIDMap {
		uids = append(uids, idRange{m.ContainerID, m.Size})
	}
	for _, m := range ids.GIDMap {
		gids = append(gids, idRange{m.ContainerID, m.Size})
	}
	return uids, gids, nil
}

// ownerOutside returns a step's user with the IDs that its files have for this process.
func (c *Container) ownerOutside(user sandbox.User) sandbox.User {
	ids := c.builder.IDMappingOptions
	if len(ids.UIDMap) == 0 {
		return user
	}
	user.Groups = slices.Clone(user.Groups)
	for i, group := range user.Groups {
		if _, gid, err := util.GetHostIDs(ids.UIDMap, ids.GIDMap, 0, group); err == nil {
			user.Groups[i] = gid
		}
	}
	if uid, gid, err := util.GetHostIDs(ids.UIDMap, ids.GIDMap, user.UID, user.GID); err == nil {
		user.UID, user.GID = uid, gid
	}
	return user
}

func isMapped(ranges []idRange, id uint32) bool {
	for _, r := range ranges {
		if id >= r.first && id-r.first < r.size {
			return true
		}
	}
	return false
}

// describeIDs says which IDs are mapped: "0 to 65536 are".
func describeIDs(ranges []idRange) string {
	var parts []string
	next, single := uint32(0), true
	for i, r := range ranges {
		last := r.first + r.size - 1
		single = single && r.size == 1 && len(ranges) == 1
		if i > 0 && r.first == next {
			before, _, _ := strings.Cut(parts[len(parts)-1], " to ")
			parts[len(parts)-1] = fmt.Sprintf("%s to %d", before, last)
		} else if r.size == 1 {
			parts = append(parts, fmt.Sprint(r.first))
		} else {
			parts = append(parts, fmt.Sprintf("%d to %d", r.first, last))
		}
		next = last + 1
	}
	if single {
		return strings.Join(parts, ", ") + " alone is"
	}
	return strings.Join(parts, ", ") + " are"
}

// beyond returns the cause that one of the IDs isn't mapped, nil if they are. The texts may be empty, or no numbers.
func beyond(uids, gids []idRange, user, group string) *cause {
	for _, one := range []struct {
		kind, text string
		ranges     []idRange
	}{{"uid", user, uids}, {"gid", group, gids}} {
		id, err := strconv.ParseUint(one.text, 10, 32)
		if err != nil || isMapped(one.ranges, uint32(id)) {
			continue
		}
		return &cause{trouble.UnmappedID, trouble.Facts{
			"id": fmt.Sprintf("%s %d", one.kind, id), "have": describeIDs(one.ranges), "need": fmt.Sprint(id)}}
	}
	return nil
}

// unmappedText matches what this program's own rooms and the library say of an owner whom nobody can have here.
var unmappedText = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:uid (\d+) or gid (-?\d+) is not mapped in this user namespace|uid -1 or gid (\d+) is not mapped|` +
		`becoming user (\d+), group (\d+): invalid argument|(?:owner|ownership) of "?([^\n"]*)"? to (\d+):(\d+)[^\n]*: invalid argument)`)
})

// unmappedID finds an ID that isn't mapped in an error of one's own user namespace.
func unmappedID(text string) *cause {
	m := unmappedText().FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	uids, gids, err := ownIDs()
	if err != nil {
		return nil
	}
	k := beyond(uids, gids, firstOf(m[1], m[4], m[7]), firstOf(m[2], m[3], m[5], m[8]))
	if k != nil && m[6] != "" {
		k.facts["id"] += " (of " + m[6] + ")"
	}
	return k
}

// requested matches what storage says of a file in an image whose owner isn't mapped.
var requested = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`requested (\d+):(\d+) for ([^)]+)\)`)
})

// imageOwner says which file of an image belongs to whom, and what would be needed.
func imageOwner(_ error, text string) trouble.Facts {
	facts := trouble.Facts{"detail": strip(text), "more": ""}
	uids, gids, err := ownIDs()
	if m := requested().FindStringSubmatch(text); m != nil && err == nil {
		facts["detail"] = fmt.Sprintf("%s belongs to %s:%s", m[3], m[1], m[2])
		if k := beyond(uids, gids, m[1], m[2]); k != nil {
			facts["detail"] += fmt.Sprintf(", and of %ss %s", k.facts["id"][:3], k.facts["have"])
			facts["more"] = fmt.Sprintf(", at least %s (usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST USER)", k.facts["need"])
		}
	}
	return facts
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
func (s *scene) beyond(user, group string) *cause {
	k := beyond(s.uids, s.gids, user, group)
	if k != nil && s.ownMap {
		k.of = trouble.ContainerID
	}
	return k
}

// refusedID says which owner that a line is about isn't mapped.
func (s *scene) refusedID(line string) *cause {
	if len(s.uids) == 1 && s.uids[0].size == 1 || len(s.gids) == 1 && s.gids[0].size == 1 {
		if m := alone().FindStringSubmatch(line); m != nil && s.user.UID == 0 {
			program := firstOf(m[1], "apt-get")
			return &cause{trouble.OneID, trouble.Facts{"program": program}}
		}
	}
	if !ownerLine().MatchString(line) {
		return nil
	}
	for _, m := range inMessage().FindAllStringSubmatch(line, -1) {
		if k := s.beyond(firstOf(m[1], m[3]), firstOf(m[2], m[4])); k != nil {
			return k
		}
	}
	for _, word := range s.words {
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
func (s *scene) ownerIDs(user, group string) (uid, gid string) {
	if s.files == nil {
		return user, group // numbers count
	}
	if id, _, err := s.files.LookupOwner(user, ""); err == nil && id >= 0 {
		uid = strconv.Itoa(id)
	}
	if _, id, err := s.files.LookupOwner("", group); err == nil && id >= 0 {
		gid = strconv.Itoa(id)
	}
	return uid, gid
}
