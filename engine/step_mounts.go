package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux/label"
	"go.podman.io/buildah/pkg/overlay"
	butil "go.podman.io/buildah/util"
	"go.podman.io/common/pkg/chown"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/rootfs"
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
	var st unix.Statfs_t
	if err := unix.Statfs(source, &st); err != nil {
		return err
	}
	// The flags of statfs(2) are those of the mount, and its first four are numbered as mount_setattr(2) has them.
	attributes := uint64(st.Flags) & (unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC)
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

// place makes an empty directory, or a file, to mount on.
func (m *stepMounts) place(directory bool) (string, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return "", err
	}
	at := filepath.Join(m.dir, strconv.Itoa(len(entries)))
	if directory {
		return at, os.Mkdir(at, 0o700)
	}
	return at, os.WriteFile(at, nil, 0o600)
}

// removePlaces removes the places, which are empty by then. One where something is still mounted stays: nothing but the place
// itself is ever deleted, since what is mounted there is the user's.
func (m *stepMounts) removePlaces() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		errs = append(errs, os.Remove(filepath.Join(m.dir, entry.Name())))
	}
	return errors.Join(append(errs, os.Remove(m.dir))...)
}

// mounted notes that something is mounted at a place.
func (m *stepMounts) mounted(at string) {
	m.undo = append(m.undo, func() error { return detach(at) })
}

// detach unmounts what is mounted at a place, even if a program of the step's that the kernel hasn't quite ended is in it.
func detach(at string) error {
	return os.NewSyscallError("umount2", unix.Unmount(at, unix.MNT_DETACH))
}

// pin makes the tree at an open file a mount of its own, at a place that it returns.
func (m *stepMounts) pin(file *os.File, f *MountFlags) (at string, err error) {
	flags := uint(unix.AT_EMPTY_PATH | unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if !f.NonRecursive {
		flags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(int(file.Fd()), "", flags)
	if err != nil {
		return "", os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	// Before it is mounted anywhere: the copy of a shared mount is its peer, and to unmount what lies in the copy would
	// unmount it in the tree that was copied too.
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if f.propagation() == unix.MS_SLAVE {
		attr.Propagation = unix.MS_SLAVE
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return "", os.NewSyscallError("mount_setattr", err)
	}
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if at, err = m.place(info.IsDir()); err != nil {
		return "", err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return "", os.NewSyscallError("move_mount", err)
	}
	m.mounted(at)
	return at, nil
}

// apply does what the flags ask for to the tree that is mounted at a place. If owners are to change, its origin, a path of
// the host, must not be one of the machine's own directories.
func (m *stepMounts) apply(at, origin string, f *MountFlags) error {
	if f.Relabel != "" {
		err := label.Relabel(at, m.c.builder.MountLabel, f.Relabel == "shared")
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("labelling it for SELinux: %w", err)
		}
	}
	if f.Chown {
		if dangerous, err := chown.DangerousHostPath(origin); err != nil {
			return err
		} else if dangerous {
			return failure.New("giving", origin, "to the step's user (option U): this is one of the machine's own directories")
		}
		if err := chown.ChangeHostPathOwnership(at, true, int(m.user.UID), int(m.user.GID)); err != nil {
			return err
		}
	}
	return m.restrict(at, f)
}

// restrict gives the mounts at a place their attributes and propagation.
func (m *stepMounts) restrict(at string, f *MountFlags) error {
	set, unset := f.attributes()
	attr := unix.MountAttr{Attr_set: set, Attr_clr: unset}
	if propagation := f.propagation(); propagation != unix.MS_SLAVE { // that one is its source's slave already
		attr.Propagation = propagation
	}
	flags := uint(unix.AT_RECURSIVE)
	if err := unix.MountSetattr(unix.AT_FDCWD, at, flags, &attr); errors.Is(err, unix.EPERM) && unset != 0 {
		return errors.New("its file system is mounted with nosuid, nodev or noexec, which an ordinary user can't take back")
	} else if err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return nil
}

// overlay mounts an overlay over the directory at a place and returns where it is. What is written there goes to the
// directory upper, or is gone with the step.
func (m *stepMounts) overlay(lower, upper, work string) (merged string, err error) {
	own, err := m.c.run.options.Store.ContainerDirectory(m.c.id)
	if err != nil {
		return "", err
	}
	// Beside the container's own layer, which is on a file system that overlay can write to.
	dir, err := overlay.TempDir(filepath.Join(own, "rlbuild-mounts"), 0, 0)
	if err != nil {
		return "", err
	}
	m.undo = append(m.undo, func() error { return overlay.RemoveTemp(dir) })
	mount, err := overlay.MountWithOptions(dir, lower, lower, &overlay.Options{
		GraphOpts: slices.Clone(m.c.run.options.Store.GraphOptions()), ForceMount: true, MountLabel: m.c.builder.MountLabel,
		UpperDirOptionFragment: upper, WorkDirOptionFragment: work,
	})
	if err != nil {
		return "", fmt.Errorf("mounting an overlay over it: %w", err)
	}
	return mount.Source, nil
}

// tree opens the tree that a place is in. It stays open until release.
func (m *stepMounts) tree(p *Place) (*rootfs.FS, error) {
	run := m.c.run
	root := firstOf(p.Root, "/")
	switch {
	case p.Container != nil:
		if _, err := p.Container.Mount(); err != nil {
			return nil, err
		}
		return p.Container.Files()
	case p.Image != "":
		image, err := run.Image(p.Image)
		if err != nil {
			return nil, err
		}
		if root, err = run.options.Store.MountImage(image.ID, nil, m.c.builder.MountLabel); err != nil {
			return nil, explain("mounting the image", p.Image, err)
		}
		m.undo = append(m.undo, func() error {
			_, err := run.options.Store.UnmountImage(image.ID, false)
			return err
		})
	}
	files, err := rootfs.Open(root)
	if err != nil {
		return nil, err
	}
	m.undo = append(m.undo, files.Close)
	return files, nil
}

// writable makes a copy of what name leads to, at a place that it returns, to write to and throw away.
func (m *stepMounts) writable(files *rootfs.FS, name string) (at string, err error) {
	if name, err = files.Resolve(name); err != nil {
		return "", err
	}
	info, err := files.Stat(name)
	if err != nil {
		return "", err
	}
	base := ""
	if !info.Mode.IsDir() { // overlay is for directories
		name, base = path.Dir(name), path.Base(name)
	}
	lower, err := files.Handle(name)
	if err != nil {
		return "", err
	}
	defer lower.Close()
	if at, err = m.pin(lower, &MountFlags{}); err != nil {
		return "", err
	}
	merged, err := m.overlay(at, "", "")
	if err != nil {
		return "", err
	}
	return m.pinAt(filepath.Join(merged, base))
}

// pinAt is pin for a path that is trusted.
func (m *stepMounts) pinAt(name string) (string, error) {
	file, err := os.OpenFile(name, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return m.pin(file, &MountFlags{})
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
