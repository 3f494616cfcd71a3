package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	butil "go.podman.io/buildah/util"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/filesystem"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// stepMounts are the mounts of one step. Each is made ready in this process's own mount namespace, at a place below dir:
// the tree that a name leads to, held by its descriptor when it was looked up, with the attributes it is to have, or an
// overlay or a tmpfs. Whatever runs the step then only has to bind that place, and so finds the same.
type stepMounts struct {
	c       *Container
	way     *Isolation
	dir     string
	user    sandbox.User // whom the step runs as, by the IDs of this namespace
	workDir string
	shown   []shownMount
	env     []string        // for the step: NAME=VALUE, no secrets
	secrets []string        // as env, but of nobody else's business
	locked  map[string]bool // files of locks that are held
	agents  int
	undo    []func() error // the newest last
}

// shownMount is a place of this namespace that a step sees at another.
type shownMount struct {
	source, target string
	attributes     uint64 // that it has
	propagation    string
}

// prepareMounts makes the mounts of a step ready: those of its own and the volumes that its container was made with. The
// caller calls release when the step has ended.
func (c *Container) prepareMounts(ctx context.Context, way *Isolation, o RunOptions, user sandbox.User, workDir string) (m *stepMounts, err error) {
	m = &stepMounts{c: c, way: way, workDir: workDir, locked: map[string]bool{}}
	mounts, err := c.mountsOf(o, workDir)
	if err != nil || len(mounts) == 0 {
		return m, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.release())
		}
	}()
	ids := c.builder.IDMappingOptions
	if user.UID, user.GID, err = butil.GetHostIDs(ids.UIDMap, ids.GIDMap, user.UID, user.GID); err != nil {
		return m, err
	}
	m.user = user
	if m.dir, err = os.MkdirTemp(c.run.options.TempDir, "mounts-"); err != nil {
		return m, fmt.Errorf("making a directory for the step's mounts: %w", err)
	}
	m.undo = append(m.undo, m.removePlaces)
	for _, mount := range mounts {
		if err := ctx.Err(); err != nil {
			return m, err
		}
		if err := mount.prepare(ctx, m); err != nil {
			if at := describeMount(mount, workDir); at.Source != "" {
				if k := pathCause(at.Source, reach.Read, err); k != nil {
					return m, k.explain("mounting", at.Target, err)
				}
			}
			return m, explain("mounting", firstOf(mount.target(), "a secret"), err)
		}
	}
	return m, nil
}

// mountsOf lists the mounts of a step: its own, and the container's volumes at other places. Their targets are absolute.
func (c *Container) mountsOf(o RunOptions, workDir string) (mounts []Mount, err error) {
	taken := map[string]bool{}
	for _, mount := range o.Mounts {
		if at := mount.target(); at != "" {
			if at = inStep(workDir, at); taken[at] {
				return nil, failure.New("mounting", at, "two mounts of this step are to be there")
			}
			taken[at] = true
		}
		mounts = append(mounts, mount)
	}
	for _, text := range c.builder.CommonBuildOpts.Volumes {
		volume, err := ParseVolume(text, c.run.options.Dir)
		if err != nil {
			return nil, err
		}
		if !taken[path.Clean(volume.Target)] {
			mounts = append(mounts, volume)
		}
	}
	return mounts, nil
}

// inStep returns the clean absolute name of a target.
func inStep(workDir, target string) string {
	if !path.IsAbs(target) {
		target = path.Join("/", workDir, target)
	}
	return path.Clean(target)
}

// release undoes what was made ready, newest first. All of it is tried.
func (m *stepMounts) release() error {
	var errs []error
	for _, undo := range slices.Backward(m.undo) {
		errs = append(errs, undo())
	}
	m.undo = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("releasing the step's mounts: %w", err)
	}
	return nil
}

// show has the step see what is at the place source.
func (m *stepMounts) show(source, target string, propagation string) error {
	target = inStep(m.workDir, target)
	if err := m.allowed(target, propagation); err != nil {
		return err
	}
	on, err := filesystem.Of(source)
	if err != nil {
		return err
	}
	// The flags of statfs(2) are those of the mount, and its first four are numbered as mount_setattr(2) has them.
	attributes := uint64(on.Flags) & (unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC)
	m.shown = append(m.shown, shownMount{source, target, attributes, propagation})
	return nil
}

// allowed says why the way that the step is run can't have a mount, or nil.
func (m *stepMounts) allowed(target, propagation string) error {
	kind := m.way.Kind
	own := func(name string) bool {
		return target == name || kind == "chroot" && strings.HasPrefix(target, name+"/")
	}
	if target == "/" || (kind == sandboxKind || kind == "chroot") && slices.ContainsFunc([]string{"/proc", "/sys", "/dev"}, own) {
		return failure.New("mounting", target, "isolation %q has its own there", kind).
			WithHint("mount it elsewhere, or run the step with an OCI runtime: --isolation oci")
	}
	switch (&MountFlags{Propagation: propagation}).propagation() {
	case unix.MS_SHARED: // buildah takes it, and then makes all mounts private
		return failure.New("mounting", target, "what a step mounts is never seen by the host (bind_propagation %q)", propagation).
			WithHint("leave it out.")
	case unix.MS_SLAVE, unix.MS_UNBINDABLE:
		if kind != sandboxKind {
			return failure.New("mounting", target, "with isolation %q all mounts are private (bind_propagation %q)", kind, propagation).
				WithHint("leave it out, or run the step with --isolation sandbox")
		}
	}
	return nil
}

// addTo adds the mounts to a sandboxed step, in place of what it has at the same targets.
func (m *stepMounts) addTo(s *sandbox.Step) {
	for _, mount := range m.shown {
		s.Binds = slices.DeleteFunc(s.Binds, func(b sandbox.Bind) bool { return b.Target == mount.target })
		s.Files = slices.DeleteFunc(s.Files, func(f sandbox.File) bool { return f.Target == mount.target })
		s.Binds = append(s.Binds, sandbox.Bind{
			Source: mount.source, Target: mount.target, ReadOnly: mount.attributes&unix.MOUNT_ATTR_RDONLY != 0,
			Propagation: (&MountFlags{Propagation: mount.propagation}).propagation(),
		})
	}
	s.Env = append(append(s.Env, m.env...), m.secrets...)
}

// specs describes the mounts to the library.
func (m *stepMounts) specs() (mounts []specs.Mount) {
	for _, mount := range m.shown {
		options := []string{"rprivate"}
		for _, a := range []struct {
			attribute uint64
			set, not  string
		}{
			{unix.MOUNT_ATTR_RDONLY, "ro", "rw"}, {unix.MOUNT_ATTR_NOSUID, "nosuid", ""},
			{unix.MOUNT_ATTR_NODEV, "nodev", ""}, {unix.MOUNT_ATTR_NOEXEC, "noexec", ""},
		} {
			if mount.attributes&a.attribute != 0 {
				options = append(options, a.set)
			} else if a.not != "" {
				options = append(options, a.not)
			}
		}
		mounts = append(mounts, specs.Mount{Type: "bind", Source: mount.source, Destination: mount.target, Options: options})
	}
	return mounts
}

// libraryMounts is prepareMounts for a step that the library runs, which gets the container's volumes with the others.
func (c *Container) libraryMounts(ctx context.Context, way *Isolation, o RunOptions) (*stepMounts, error) {
	volumes := c.builder.CommonBuildOpts.Volumes
	if len(o.Mounts) == 0 && len(volumes) == 0 {
		return &stepMounts{}, nil
	}
	if _, err := c.Mount(); err != nil {
		return nil, err
	}
	user, err := sandbox.LookupUser(c.files, firstOf(o.User, c.builder.User()))
	if err != nil {
		return nil, err
	}
	m, err := c.prepareMounts(ctx, way, o, user, firstOf(o.Workdir, c.builder.WorkDir(), "/"))
	if err != nil {
		return nil, err
	}
	c.builder.CommonBuildOpts.Volumes = nil
	m.undo = append(m.undo, func() error { c.builder.CommonBuildOpts.Volumes = volumes; return nil })
	return m, nil
}

// ended releases the mounts of a step that ended with err, and removes what they needed in the root: the next step may need
// a file where this one needed a directory.
func (m *stepMounts) ended(title string, err error) error {
	released := m.release()
	if len(m.shown) > 0 {
		released = errors.Join(released, m.c.tidy())
	}
	if released != nil {
		return errors.Join(err, explain("", title, released))
	}
	return err
}
