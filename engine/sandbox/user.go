package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// maxAccounts bounds /etc/passwd and /etc/group, bytes; the largest real ones have a few million.
const maxAccounts = 16 << 20

// LookupUser returns who "user", "user:group" or "" (root) is in a root file system: numbers as they are, names from its
// own /etc/passwd and /etc/group. As with buildah, a number that has no entry is in group 0, and whoever names a group is
// in no other.
func LookupUser(files *rootfs.FS, text string) (User, error) {
	name, group, grouped := strings.Cut(text, ":")
	if name == "" {
		name = "0"
	}
	accounts, err := entries(files, "etc/passwd", 7)
	if err != nil {
		return User{}, err
	}
	groups, err := entries(files, "etc/group", 4)
	if err != nil {
		return User{}, err
	}
	u := User{Home: "/"}
	entry := find(accounts, 0, name)
	id, numeric := parseID(name)
	switch {
	case numeric:
		u.UID = id
		entry = find(accounts, 2, name)
	case entry != nil:
		u.UID, _ = parseID(entry[2])
	default:
		return User{}, fmt.Errorf("/etc/passwd has no user %q", name)
	}
	if entry != nil {
		u.GID, _ = parseID(entry[3])
		u.Home = entry[5]
	}
	if group != "" {
		if u.GID, numeric = parseID(group); !numeric {
			if u.GID, err = groupNamed(groups, group); err != nil {
				return User{}, err
			}
		}
	}
	u.Groups = []uint32{u.GID}
	if entry != nil && !grouped {
		u.Groups = append(u.Groups, memberships(groups, entry[0], u.GID)...)
	}
	return u, nil
}

// LookupGroup returns the ID of a group: a number as it is, a name from the root's own /etc/group.
func LookupGroup(files *rootfs.FS, name string) (uint32, error) {
	if id, numeric := parseID(name); numeric {
		return id, nil
	}
	groups, err := entries(files, "etc/group", 4)
	if err != nil {
		return 0, err
	}
	return groupNamed(groups, name)
}

func groupNamed(groups [][]string, name string) (uint32, error) {
	entry := find(groups, 0, name)
	if entry == nil {
		return 0, fmt.Errorf("/etc/group has no group %q", name)
	}
	id, _ := parseID(entry[2])
	return id, nil
}

// memberships returns the groups that list a user as a member, but for his primary one.
func memberships(groups [][]string, name string, primary uint32) (ids []uint32) {
	for _, g := range groups {
		id, _ := parseID(g[2])
		if id != primary && slices.Contains(strings.Split(g[3], ","), name) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// entries returns the lines of a file in the form of passwd(5) or group(5) as fields. Lines of another form, and such
// whose IDs aren't numbers, are left out: the usual readers take a broken ID for 0, which is root.
func entries(files *rootfs.FS, name string, fields int) (all [][]string, err error) {
	data, err := files.ReadFile(name, maxAccounts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		entry := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(entry) != fields {
			continue
		}
		if _, ok := parseID(entry[2]); !ok {
			continue
		}
		if _, ok := parseID(entry[3]); !ok && fields == 7 {
			continue
		}
		all = append(all, entry)
	}
	return all, nil
}

// find returns the first entry with value in a field.
func find(all [][]string, field int, value string) []string {
	for _, entry := range all {
		if entry[field] == value {
			return entry
		}
	}
	return nil
}

// parseID parses a user or group ID. 2^32-1 is none: setuid(2) takes it for "leave it".
func parseID(text string) (uint32, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil && id != 1<<32-1
}
