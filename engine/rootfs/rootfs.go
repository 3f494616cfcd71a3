// Package rootfs does file operations below a root directory that no name, link or race leads out of: every name
// resolves as it would after chroot(2) into that directory.
//
// An image's content is hostile: it may hold /etc -> /, a -> ../../.., a link that another process turns into a
// directory and back, a named pipe where a file is expected. The code that edits it is root over all of the user's
// IDs. So no method ever hands the kernel a host path that goes through the root. A name is resolved to a file
// descriptor by openat2(2) with RESOLVE_IN_ROOT (filepath-securejoin walks component by component on kernels before
// 5.6); the object behind that descriptor is inspected, and then the operation is done on that very object, or, for
// creating and deleting, on one entry of the directory it stands for.
//
// Names are slash separated. A leading slash, none, and ".." beyond the root all stay inside; "" and "/" are the root;
// a trailing slash is ignored. "a/.." is where the link a leads and up from there, as the kernel has it, not textual.
// Magic links (/proc/self/fd/0, /proc/1/root), which lead anywhere, are refused with ELOOP. Names that come back
// (Glob, Resolve) are relative to the root, "." being the root itself. Errors are *fs.PathError (*os.LinkError from
// Rename) with the name as an absolute path inside the root; errors.Is finds fs.ErrNotExist and its siblings.
//
// User and group IDs are those of the calling process's user namespace; an ID it doesn't map reads as 65534.
package rootfs

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// FS is a directory tree seen from its root. Its methods may run at the same time; Close must come after all of them.
type FS struct {
	dir  string
	root *os.File // O_PATH: enough for *at calls, and needs no read permission
	ctx  context.Context
}

// Open returns the tree below dir, which is trusted: links in it are followed on the host. The directory is held by a
// descriptor, so renaming or mounting over dir later changes nothing. The caller closes the FS, and must do so before
// it unmounts dir: an open descriptor keeps a detached mount alive, and overlay then refuses the same upper directory
// to the next mount.
func Open(dir string) (*FS, error) {
	root, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &FS{dir: dir, root: root, ctx: context.Background()}, nil
}

// Until returns the same tree, whose methods that go through whole directories (Glob, and Remove and Chown when they are
// recursive) fail with the context's cause when it ends. Only one of the two is to be closed.
func (f *FS) Until(ctx context.Context) *FS { return &FS{dir: f.dir, root: f.root, ctx: ctx} }

// Close releases the root directory. Every method fails from then on.
func (f *FS) Close() error { return f.root.Close() }

// Dir returns the root's path on the host, as Open was given it.
func (f *FS) Dir() string { return f.dir }

// follow returns an O_PATH descriptor of what name leads to, all links followed inside the root. The caller closes it.
// O_PATH opens nothing: no pipe blocks, no device is rewound, no permission on the object itself is needed.
func (f *FS) follow(name string) (*os.File, error) {
	if strings.Trim(name, "/") == "" {
		name = "." // openat2 refuses the empty path
	} else if strings.HasSuffix(name, "/") {
		name = strings.TrimRight(name, "/")
	}
	for range maxRaces {
		fd, err := unix.Openat2(int(f.root.Fd()), name, &inRoot)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.ENOSYS, unix.EPERM: // before Linux 5.6, and where a container's system call filter is older than that
			return pathrs.OpenatInRoot(f.root, name)
		case unix.EINTR: // FUSE file systems interrupt calls, whatever SA_RESTART says
		case unix.EAGAIN: // somebody renamed or mounted something while a ".." was looked up
		default:
			return nil, err
		}
	}
	return nil, unix.EAGAIN
}

// inRoot is how every name is opened. filepath-securejoin opens the same way, but asks a /proc that it mounts for each
// call what it got, which takes ten times as long.
var inRoot = unix.OpenHow{
	Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
}

// maxRaces bounds how often an interrupted lookup is tried again.
const maxRaces = 128

// parent returns an O_PATH descriptor of the directory that holds name's last component, and that component, which is
// a plain file name. The last component itself is not looked at. The caller closes the descriptor.
func (f *FS) parent(name string) (*os.File, string, error) {
	dir, base := split(name)
	if base == "" {
		return nil, "", fmt.Errorf("the root, %q and %q can't be created, replaced or removed: %w", ".", "..", unix.EINVAL)
	}
	file, err := f.follow(dir)
	return file, base, err
}

// entry returns an O_PATH descriptor of name without following it when it is a link. The caller closes it.
func (f *FS) entry(name string) (*os.File, error) {
	if _, base := split(name); base == "" {
		return f.follow(name)
	}
	dir, base, err := f.parent(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return openat(dir, base, unix.O_PATH, 0)
}

// split cuts name into a directory and its last component. The component is "" when it would be ".", ".." or the root:
// those are not entries that a system call may be pointed at without leaving the directory they are looked up in.
func split(name string) (dir, base string) {
	name = strings.TrimRight(name, "/")
	dir, base = path.Split(name)
	if base == "." || base == ".." {
		return name, ""
	}
	return dir, base
}

// openat opens the entry base of dir; base is one plain component. A link is never followed.
func openat(dir *os.File, base string, flags int, perm uint32) (*os.File, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(int(dir.Fd()), base, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
		return err
	})
	runtime.KeepAlive(dir)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), base), nil
}

// reopen turns an O_PATH descriptor into one of the same object with other flags. The path is the kernel's own link to
// the object, so nothing can be swapped in between. O_NONBLOCK and O_NOCTTY are for objects that slipped the caller's
// check.
func reopen(handle *os.File, flags int) (*os.File, error) {
	return os.OpenFile(self(handle), flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// self returns the kernel's link to handle's object, for the system calls that take no O_PATH descriptor. The /proc is
// the host's, never the image's. The caller keeps handle open.
func self(handle *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", handle.Fd()) }

// retry repeats call while a signal interrupts it, as package os does around its own system calls.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// failed wraps err, when there is one, with the operation and the name inside the root. The paths that lower layers
// put into their errors are dropped: they are the host's, or descriptor numbers.
func failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: shown(name), Err: cause(err)}
}

func cause(err error) error {
	for {
		switch e := err.(type) {
		case *fs.PathError:
			err = e.Err
		case *os.SyscallError:
			err = e.Err
		default:
			return err
		}
	}
}

// shown returns name as errors show it.
func shown(name string) string { return "/" + strings.TrimLeft(name, "/") }
