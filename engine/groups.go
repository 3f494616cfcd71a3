package engine

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"go.podman.io/buildah"
	"go.podman.io/buildah/define"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// stepUser returns whom a step runs as, with the supplementary groups that it gets. The container must be mounted.
func (c *Container) stepUser(o RunOptions) (sandbox.User, error) {
	name := firstOf(o.User, c.builder.User())
	user, err := sandbox.LookupUser(c.files, name)
	if err != nil {
		return user, fmt.Errorf("user %q: %w", name, err)
	}
	groups, keep, err := c.groups(c.files, o.GroupAdd)
	if err != nil {
		return user, err
	}
	for _, id := range groups {
		if !slices.Contains(user.Groups, id) {
			user.Groups = append(user.Groups, id)
		}
	}
	user.KeepGroups = keep
	return user, nil
}

// groups returns the supplementary groups that a step is in besides its user's: the container's and its own, or keep for
// those of the user who runs rlbuild. The container must be mounted.
func (c *Container) groups(files *rootfs.FS, more []string) (ids []uint32, keep bool, err error) {
	all := slices.Concat(c.builder.GroupAdd, more)
	if slices.Equal(all, []string{KeepGroups, KeepGroups}) {
		all = all[:1] // both ask for the same
	}
	if err := checkGroups(all); err != nil {
		return nil, false, err
	}
	for _, name := range all {
		if name == KeepGroups {
			return nil, true, nil
		}
		id, err := sandbox.LookupGroup(files, name)
		if err != nil {
			return nil, false, failure.New("group_add", strconv.Quote(name), "%w", err).
				WithHint("a number needs no entry.")
		}
		ids = append(ids, id)
	}
	return ids, false, nil
}

// lendGroups makes the library give its next step these groups, until the returned function is called. Names it doesn't
// know: it gets numbers.
func (c *Container) lendGroups(how *buildah.RunOptions, more []string) (restore func(), err error) {
	if len(c.builder.GroupAdd)+len(more) == 0 {
		return func() {}, nil
	}
	if _, err := c.Mount(); err != nil {
		return nil, err
	}
	ids, keep, err := c.groups(c.files, more)
	if err != nil {
		return nil, err
	}
	by := filepath.Base(how.Runtime)
	if how.Isolation == define.IsolationChroot {
		by = "a chroot"
	}
	if keep && by != "crun" {
		return nil, failure.New("group_add", KeepGroups, "%s can't keep the user's groups: it sets its own", by).
			WithHint("use crun (--runtime crun), or rlbuild's own executor (--isolation sandbox).")
	}
	before := c.builder.GroupAdd
	c.builder.GroupAdd = nil
	if keep {
		c.builder.GroupAdd = []string{KeepGroups}
	}
	for _, id := range ids {
		c.builder.GroupAdd = append(c.builder.GroupAdd, fmt.Sprint(id))
	}
	return func() { c.builder.GroupAdd = before }, nil
}
