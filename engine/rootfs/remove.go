package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Remove deletes the entry name: a link itself, never its target; a directory only when it is empty, or with recursive
// everything in it as well. Nothing is followed on the way down and no mount below is entered: that is an error, as is
// a name that doesn't exist (fs.ErrNotExist) and the root. It stops at the first entry that can't be deleted and names
// it.
func (f *FS) Remove(name string, recursive bool) error {
	dir, base, err := f.parent(name)
	if err != nil {
		return failed("remove", name, err)
	}
	defer dir.Close()
	return remove(f.ctx, dir, base, name, recursive)
}

// remove deletes the entry base of dir; name is for errors. One descriptor is open per level.
func remove(ctx context.Context, dir *os.File, base, name string, recursive bool) error {
	unlink := func(flags int) error {
		return retry(func() error { return unix.Unlinkat(int(dir.Fd()), base, flags) })
	}
	// Trying is the only check that can't go stale. Linux never unlinks a directory and never rmdirs anything else.
	fileErr := unlink(0)
	if fileErr == nil || fileErr != unix.EISDIR && fileErr != unix.EPERM {
		return failed("remove", name, fileErr)
	}
	err := unlink(unix.AT_REMOVEDIR)
	if err == unix.ENOTDIR {
		err = fileErr // a file that may not be deleted: immutable, or in another user's sticky directory
	}
	if err == nil || !recursive || err != unix.ENOTEMPTY && err != unix.EEXIST {
		return failed("remove", name, err)
	}
	child, err := below(dir, base)
	if err != nil {
		return failed("remove", name, err)
	}
	defer child.Close()
	names, err := list(child)
	if err != nil {
		return failed("remove", name, err)
	}
	for _, entry := range names {
		if ctx.Err() != nil {
			return failed("remove", name, context.Cause(ctx))
		}
		err := remove(ctx, child, entry, path.Join(name, entry), true)
		if err != nil && !errors.Is(err, unix.ENOENT) { // somebody else deleted it: that is what was wanted
			return err
		}
	}
	return failed("remove", name, unlink(unix.AT_REMOVEDIR))
}

// below returns an O_PATH descriptor of the entry base of dir for a walk downwards: links aren't followed, and an
// entry on which something else is mounted is refused. The caller closes it.
func below(dir *os.File, base string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV}
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat2(int(dir.Fd()), base, &how)
		return err
	})
	switch err {
	case nil:
		return os.NewFile(uintptr(fd), base), nil
	case unix.EXDEV:
		return nil, errMountPoint
	case unix.ENOSYS, unix.EPERM: // Linux before 5.6, or a seccomp filter that doesn't know openat2
		return belowByDevice(dir, base)
	}
	return nil, err
}

var errMountPoint = fmt.Errorf("something is mounted there: %w", unix.EXDEV)

// belowByDevice is below for kernels without openat2. Comparing devices misses a bind mount of the same file system,
// which the kernel then refuses to delete as busy, though not what is in it.
func belowByDevice(dir *os.File, base string) (*os.File, error) {
	var above, here unix.Stat_t
	child, err := openat(dir, base, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	if err = unix.Fstat(int(dir.Fd()), &above); err == nil {
		err = unix.Fstat(int(child.Fd()), &here)
	}
	// Directories only: overlay gives its files the device of the layer they come from.
	if err == nil && here.Mode&unix.S_IFMT == unix.S_IFDIR && here.Dev != above.Dev {
		err = errMountPoint
	}
	if err != nil {
		child.Close()
		return nil, err
	}
	return child, nil
}
