package engine

import (
	"fmt"
	"os"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah"
	"go.podman.io/buildah/util"
	"go.podman.io/storage/pkg/idmap"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// cutMaps has a container's maps as the kernel takes them, whoever made them: storage the automatic ones, and buildah writes
// them as they were given.
func cutMaps(builder *buildah.Builder) error {
	ids := &builder.IDMappingOptions
	haveUIDs, haveGIDs, err := unshare.GetHostIDMappings("")
	if err != nil {
		return fmt.Errorf("reading what IDs are mapped: %w", err)
	}
	ids.UIDMap, ids.GIDMap = inExtents(ids.UIDMap, haveUIDs), inExtents(ids.GIDMap, haveGIDs)
	return nil
}

// userNamespace returns the user namespace of a container's sandboxed steps, which closeFiles closes; nil for rlbuild's own.
func (c *Container) userNamespace() (*sandbox.UserNamespace, error) {
	option := c.builder.NamespaceOptions.Find(string(specs.UserNamespace))
	ids := c.builder.IDMappingOptions
	if c.users != nil || (option == nil || option.Host) && len(ids.UIDMap) == 0 {
		return c.users, nil
	}
	if option != nil && option.Path != "" {
		file, err := os.Open(option.Path)
		if err != nil {
			return nil, failure.New("userns", option.Path, "%w", err)
		}
		c.users = &sandbox.UserNamespace{File: file, HostID: func(uid, gid uint32) (uint32, uint32) { return uid, gid }}
		return c.users, nil
	}
	uids, gids := ids.UIDMap, ids.GIDMap
	if len(uids) == 0 { // one of its own, with the same IDs
		var err error
		if uids, gids, err = unshare.GetHostIDMappings(""); err != nil {
			return nil, fmt.Errorf("reading what IDs are mapped: %w", err)
		}
		uids, gids = identity(uids), identity(gids)
	}
	file, err := makeUserNamespace(uids, gids)
	if err != nil {
		return nil, err
	}
	c.users = &sandbox.UserNamespace{File: file, HostID: func(uid, gid uint32) (uint32, uint32) {
		hostUID, hostGID, err := util.GetHostIDs(uids, gids, uid, gid)
		if err != nil {
			return 0, 0 // not mapped: nothing can belong to it
		}
		return hostUID, hostGID
	}}
	return c.users, nil
}

// makeUserNamespace makes a user namespace with these maps, which lasts as long as the file is open.
func makeUserNamespace(uids, gids []specs.LinuxIDMapping) (*os.File, error) {
	// The process that it is made with ends with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, end, err := idmap.CreateUsernsProcess(storageMap(uids), storageMap(gids))
	if err != nil {
		return nil, fmt.Errorf("making the container's user namespace: %w", err)
	}
	defer end()
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return nil, fmt.Errorf("making the container's user namespace: %w", err)
	}
	return file, nil
}

func storageMap(maps []specs.LinuxIDMapping) (all []idtools.IDMap) {
	for _, m := range maps {
		all = append(all, idtools.IDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	return all
}

// identity maps what is mapped to itself.
func identity(maps []specs.LinuxIDMapping) (same []specs.LinuxIDMapping) {
	for _, m := range maps {
		same = append(same, specs.LinuxIDMapping{ContainerID: m.ContainerID, HostID: m.ContainerID, Size: m.Size})
	}
	return same
}

// mappedUser returns the user with the IDs that a container's user has outside of its user namespace.
func mappedUser(users *sandbox.UserNamespace, user sandbox.User) sandbox.User {
	if users != nil {
		user.UID, user.GID = users.HostID(user.UID, user.GID)
	}
	return user
}

// checkMapped refuses a user whom the container's user namespace doesn't have.
func (c *Container) checkMapped(user sandbox.User) error {
	ids := c.builder.IDMappingOptions
	if len(ids.UIDMap) == 0 {
		return nil
	}
	if _, _, err := util.GetHostIDs(ids.UIDMap, ids.GIDMap, user.UID, user.GID); err != nil {
		return failure.New("user", fmt.Sprintf("%d:%d", user.UID, user.GID), "the container's user namespace doesn't map these IDs").
			WithHint("map more of them: userns_uid_map, userns_gid_map.")
	}
	return nil
}
