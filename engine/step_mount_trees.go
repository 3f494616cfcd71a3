package engine

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/selinux/go-selinux/label"
	"go.podman.io/buildah/pkg/overlay"
	"go.podman.io/common/pkg/chown"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
)

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

// pinName is pin for what a name leads to.
func (m *stepMounts) pinName(files *rootfs.FS, name string, f *MountFlags) (string, error) {
	file, err := files.Handle(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return m.pin(file, f)
}
