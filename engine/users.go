package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// KeepGroups, in the place of groups, is for a step in the supplementary groups of the user who runs rlbuild.
const KeepGroups = "keep-groups"

// UserOptions say whose IDs a container's files and steps have.
type UserOptions struct {
	GroupAdd []string // supplementary groups of its steps: names in the image or numbers, or KeepGroups alone
	// "host" (rlbuild's own user namespace), "private" (one of its own), "keep-id[:uid=N,gid=N]" (in which the calling user
	// has his number), "auto[:OPTIONS]" (with IDs that no other container has), "ns:PATH"; "" is private with maps and host
	// without.
	UserNS         string
	UIDMap, GIDMap []string // "CONTAINER:HOST:SIZE", HOST being an ID in rlbuild's user namespace; one counts for both
	// Names whose ranges of /etc/subuid and /etc/subgid are mapped, in front of those; one counts for both.
	UIDMapUser, GIDMapGroup string
}

// namespace returns the user namespace in the library's words, as its command line does (IDMappingOptions of pkg/parse):
// nothing where it is what containers.conf says.
func (u *UserOptions) namespace() (define.NamespaceOptions, *define.IDMappingOptions, error) {
	if err := checkGroups(u.GroupAdd); err != nil {
		return nil, nil, err
	}
	uids, gids, err := u.maps()
	if err != nil {
		return nil, nil, err
	}
	option := define.NamespaceOption{Name: string(specs.UserNamespace), Host: len(uids)+len(gids) == 0}
	if option.Host && u.UserNS == "" {
		return nil, nil, nil
	}
	ids := &define.IDMappingOptions{}
	mode, details, _ := strings.Cut(u.UserNS, ":")
	if mode != "" && mode != "private" && mode != "container" && len(uids) > 0 {
		return nil, nil, failure.New("userns", strconv.Quote(u.UserNS), "can't be had with maps of one's own").
			WithHint("maps make a private user namespace: leave userns out.")
	}
	switch {
	case u.UserNS == "" || u.UserNS == "private" || u.UserNS == "container":
		option.Host = false
	case u.UserNS == "host":
		option.Host = true
	case mode == "keep-id":
		option.Host = false
		if uids, gids, err = keepID(details); err != nil {
			return nil, nil, err
		}
	case mode == "auto":
		option.Host = false
		automatic, err := parse.GetAutoOptions(u.UserNS)
		if err != nil {
			return nil, nil, failure.New("userns", strconv.Quote(u.UserNS), "%w", err).
				WithHint(`write "auto", or "auto:size=65536,uidmapping=CONTAINER:HOST:SIZE,gidmapping=CONTAINER:HOST:SIZE".`)
		}
		ids.AutoUserNs, ids.AutoUserNsOpts = true, *automatic
	case mode == "ns" && filepath.IsAbs(details):
		option.Host, option.Path = false, details
		if _, err := os.Stat(details); err != nil {
			return nil, nil, failure.New("userns", strconv.Quote(u.UserNS), "%w", err).WithHint("check the path.")
		}
	default:
		return nil, nil, failure.New("userns", strconv.Quote(u.UserNS), "is none of host, private, keep-id, auto, ns:PATH with an absolute path")
	}
	if uids, gids, err = mapped(uids, gids); err != nil {
		return nil, nil, err
	}
	ids.HostUIDMapping, ids.HostGIDMapping, ids.UIDMap, ids.GIDMap = option.Host, option.Host, uids, gids
	return define.NamespaceOptions{option}, ids, nil
}

// checkGroups refuses KeepGroups beside others: who keeps his groups can't be given any.
func checkGroups(groups []string) error {
	if len(groups) > 1 && slices.Contains(groups, KeepGroups) {
		return failure.New("group_add", KeepGroups, "can't be had with other groups").
			WithHint("the kernel either keeps a process's groups or takes a list of new ones.")
	}
	return nil
}

// maps returns the explicit maps.
func (u *UserOptions) maps() (uids, gids []specs.LinuxIDMapping, err error) {
	user, group := firstOf(u.UIDMapUser, u.GIDMapGroup), firstOf(u.GIDMapGroup, u.UIDMapUser)
	if user != "" {
		named, err := idtools.NewIDMappings(user, group)
		if err != nil {
			return nil, nil, failure.New("userns_uid_map_user", user, "%w", err).WithHint("look into /etc/subuid and /etc/subgid.")
		}
		uids, gids = runtimeMap(named.UIDs()), runtimeMap(named.GIDs())
	}
	if uids, err = appendMap(uids, "userns_uid_map", u.UIDMap); err != nil {
		return nil, nil, err
	}
	if gids, err = appendMap(gids, "userns_gid_map", u.GIDMap); err != nil {
		return nil, nil, err
	}
	if len(uids) == 0 {
		uids = gids
	} else if len(gids) == 0 {
		gids = uids
	}
	return uids, gids, nil
}

// appendMap parses maps as the library does: three numbers each, separated by what is no digit.
func appendMap(all []specs.LinuxIDMapping, option string, texts []string) ([]specs.LinuxIDMapping, error) {
	for _, text := range texts {
		fields := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsDigit(r) })
		if len(fields) == 0 || len(fields)%3 != 0 {
			return nil, failure.New(option, strconv.Quote(text), "is not CONTAINER:HOST:SIZE")
		}
		for ; len(fields) > 0; fields = fields[3:] {
			var n [3]uint32
			for i := range n {
				id, err := strconv.ParseUint(fields[i], 10, 32)
				if err != nil {
					return nil, failure.New(option, strconv.Quote(text), "%s is no ID or size", fields[i])
				}
				n[i] = uint32(id)
			}
			all = append(all, specs.LinuxIDMapping{ContainerID: n[0], HostID: n[1], Size: n[2]})
		}
	}
	return all, nil
}

// mapped returns maps as the kernel takes them (see inExtents), and refuses ones to IDs that rlbuild's user namespace hasn't
// got: the kernel would, without saying which.
func mapped(uids, gids []specs.LinuxIDMapping) (_, _ []specs.LinuxIDMapping, err error) {
	haveUIDs, haveGIDs, err := unshare.GetHostIDMappings("")
	if err != nil {
		return nil, nil, fmt.Errorf("reading what IDs are mapped: %w", err)
	}
	for _, c := range []struct {
		what, option string
		want, have   []specs.LinuxIDMapping
	}{{"user", "userns_uid_map", uids, haveUIDs}, {"group", "userns_gid_map", gids, haveGIDs}} {
		for _, m := range c.want {
			if uint64(m.HostID)+uint64(m.Size) > uint64(covered(m.HostID, c.have)) {
				return nil, nil, failure.New(c.option, fmt.Sprintf("%d:%d:%d", m.ContainerID, m.HostID, m.Size),
					"not all of these %s IDs are mapped in rlbuild's own user namespace", c.what).
					WithHint("the second number is an ID in there: 0 is you, and 1 your first sub-ID; rlbuild doctor shows how many there are.")
			}
		}
	}
	return inExtents(uids, haveUIDs), inExtents(gids, haveGIDs), nil
}

// inExtents cuts maps into ranges that each lie within one of the ranges in have, the map of rlbuild's own user namespace:
// the kernel takes no others (user_namespaces(7)), and 0, the user, and 1, the first of the sub-IDs, are always in two. Which
// ID is which stays the same.
func inExtents(maps, have []specs.LinuxIDMapping) (cut []specs.LinuxIDMapping) {
	for _, m := range maps {
		for rest := m.Size; ; {
			m.Size = rest
			for _, h := range have {
				if h.ContainerID <= m.HostID && m.HostID-h.ContainerID < h.Size {
					m.Size = min(rest, h.Size-(m.HostID-h.ContainerID))
				}
			}
			cut = append(cut, m)
			if rest -= m.Size; rest == 0 {
				break
			}
			m.ContainerID, m.HostID = m.ContainerID+m.Size, m.HostID+m.Size
		}
	}
	return cut
}

// covered returns where the mapped IDs end that begin at or before an ID and reach it without a gap.
func covered(id uint32, have []specs.LinuxIDMapping) uint32 {
	end := id
	for range have {
		for _, m := range have {
			if m.ContainerID <= end && uint64(end) < uint64(m.ContainerID)+uint64(m.Size) {
				end = uint32(min(uint64(m.ContainerID)+uint64(m.Size), 1<<32-1))
			}
		}
	}
	return end
}

// keepID maps the calling user, who is root here, to his own number, and all other IDs to the sub-IDs in their order, as
// podman does. Details name another number: "uid=1000,gid=1000".
func keepID(details string) (uids, gids []specs.LinuxIDMapping, err error) {
	if !unshare.IsRootless() {
		return nil, nil, failure.New("userns", `"keep-id"`, "is for ordinary users: root has his own number in a container anyway")
	}
	number := map[string]uint32{"uid": uint32(unshare.GetRootlessUID()), "gid": uint32(unshare.GetRootlessGID())}
	for detail := range strings.SplitSeq(details, ",") {
		name, text, _ := strings.Cut(detail, "=")
		id, err := strconv.ParseUint(text, 10, 31)
		if _, known := number[name]; detail != "" && (!known || err != nil) {
			return nil, nil, failure.New("userns", strconv.Quote("keep-id:"+details), "%q is neither uid=N nor gid=N", detail)
		} else if known {
			number[name] = uint32(id)
		}
	}
	haveUIDs, haveGIDs, err := unshare.GetHostIDMappings("")
	if err != nil {
		return nil, nil, fmt.Errorf("reading what IDs are mapped: %w", err)
	}
	return keep(number["uid"], covered(0, haveUIDs)), keep(number["gid"], covered(0, haveGIDs)), nil
}

// keep maps the host's 0 to id and the others, up to count, around it.
func keep(id, count uint32) []specs.LinuxIDMapping {
	maps := []specs.LinuxIDMapping{{ContainerID: id, HostID: 0, Size: 1}}
	if below := min(id, count-1); below > 0 {
		maps = append(maps, specs.LinuxIDMapping{ContainerID: 0, HostID: 1, Size: below})
	}
	if id+1 < count {
		maps = append(maps, specs.LinuxIDMapping{ContainerID: id + 1, HostID: id + 1, Size: count - id - 1})
	}
	return maps
}
