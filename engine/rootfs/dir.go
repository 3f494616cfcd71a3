package rootfs

import (
	"context"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is an open directory of a tree, for work on many files: its methods act on one entry of it, named by a plain name,
// and never follow that entry. So a walk resolves no name twice, and what somebody swaps on the way there changes nothing.
// Errors are bare system call errors: the caller knows the whole name.
type Dir struct{ file *os.File }

// OpenDir opens the directory that name leads to. The caller closes it.
func (f *FS) OpenDir(name string) (*Dir, error) {
	handle, err := f.follow(name)
	if err != nil {
		return nil, failed("open", name, err)
	}
	defer handle.Close()
	file, err := openat(handle, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, failed("open", name, err)
	}
	return &Dir{file}, nil
}

// Sub returns the tree below the directory that name leads to, as if it had been changed to by chroot(2): no name leads
// out of it any more. The caller closes it.
func (f *FS) Sub(name string) (*FS, error) {
	handle, err := f.follow(name)
	if err != nil {
		return nil, failed("open", name, err)
	}
	if st, err := handle.Stat(); err != nil || !st.IsDir() {
		handle.Close()
		if err == nil {
			err = unix.ENOTDIR
		}
		return nil, failed("open", name, err)
	}
	return &FS{dir: f.dir + shown(name), root: handle, ctx: f.ctx}, nil
}

// Handle returns an O_PATH descriptor of what name leads to, whatever that is, all links followed inside the root: for
// system calls that act on the object itself. The caller closes it.
func (f *FS) Handle(name string) (*os.File, error) {
	handle, err := f.follow(name)
	return handle, failed("open", name, err)
}

// Close closes the directory; its entries stay as they are.
func (d *Dir) Close() error { return d.file.Close() }

// File is the directory itself, for calls that take an open file. It stays the Dir's.
func (d *Dir) File() *os.File { return d.file }

// Names returns the names of the entries, sorted. It can be called once.
func (d *Dir) Names() ([]string, error) {
	names, err := d.file.Readdirnames(-1)
	if err != nil {
		return nil, cause(err)
	}
	slices.Sort(names)
	return names, nil
}

// Open opens the entry base, which must be a directory. The caller closes it.
func (d *Dir) Open(base string) (*Dir, error) {
	file, err := d.openat(base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{file}, nil
}

// Read opens the entry base for reading, which must be a regular file. The caller, who has seen with Lstat that it is
// one, closes it. O_NONBLOCK is for a pipe that was put in its place since.
func (d *Dir) Read(base string) (*os.File, error) {
	file, err := d.openat(base, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		file.Close()
		return nil, firstError(err, unix.ESTALE)
	}
	return file, nil
}

// Create makes the regular file base, open for writing and its maker's alone. It fails with fs.ErrExist when there is an
// entry of that name, of whatever kind. The caller closes it.
func (d *Dir) Create(base string) (*os.File, error) {
	return d.openat(base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
}

func (d *Dir) openat(base string, flags int, perm uint32) (*os.File, error) {
	if !plain(base) {
		return nil, unix.EINVAL
	}
	return openat(d.file, base, flags, perm)
}

// Lstat describes the entry base.
func (d *Dir) Lstat(base string) (st unix.Stat_t, err error) {
	err = d.at(base, func(dir int) error { return unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// Stat describes the directory itself.
func (d *Dir) Stat() (st unix.Stat_t, err error) {
	err = retry(func() error { return unix.Fstat(int(d.file.Fd()), &st) })
	return st, err
}

// Readlink returns what the link base holds, verbatim.
func (d *Dir) Readlink(base string) (string, error) {
	if !plain(base) {
		return "", unix.EINVAL
	}
	return readlinkat(d.file, base)
}

// Mkdir makes the directory base, its maker's alone.
func (d *Dir) Mkdir(base string) error {
	return d.at(base, func(dir int) error { return unix.Mkdirat(dir, base, 0o700) })
}

// Symlink makes a link base that holds target, verbatim.
func (d *Dir) Symlink(target, base string) error {
	return d.at(base, func(dir int) error { return unix.Symlinkat(target, dir, base) })
}

// Mknod makes a pipe, device or socket base; mode holds its type and permissions as mknod(2) has them.
func (d *Dir) Mknod(base string, mode uint32, device uint64) error {
	return d.at(base, func(dir int) error { return unix.Mknodat(dir, base, mode, int(device)) })
}

// Link makes base another name of the file old of the tree f.
func (d *Dir) Link(f *FS, old, base string) error {
	from, fromBase, err := f.parent(old)
	if err != nil {
		return cause(err)
	}
	defer from.Close()
	return d.at(base, func(dir int) error { return unix.Linkat(int(from.Fd()), fromBase, dir, base, 0) })
}

// Chown gives the entry base an owner and a group.
func (d *Dir) Chown(base string, uid, gid int) error {
	return d.at(base, func(dir int) error { return unix.Fchownat(dir, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW) })
}

// Chmod gives the entry base, which must not be a link, exactly mode, as chmod(2) has it.
func (d *Dir) Chmod(base string, mode uint32) error {
	handle, err := d.openat(base, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer handle.Close()
	return cause(os.Chmod(self(handle), fileMode(os.FileMode(mode))))
}

// Chtimes gives the entry base times of last access and change.
func (d *Dir) Chtimes(base string, to time.Time) error {
	spec := unix.NsecToTimespec(to.UnixNano())
	return d.at(base, func(dir int) error {
		return unix.UtimesNanoAt(dir, base, []unix.Timespec{spec, spec}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// Remove deletes the entry base, a directory with everything in it. As FS.Remove it follows nothing and enters no mount.
func (d *Dir) Remove(base string) error {
	if !plain(base) {
		return unix.EINVAL
	}
	return remove(context.Background(), d.file, base, base, true)
}

// at makes a system call on the entry base of the directory.
func (d *Dir) at(base string, call func(dir int) error) error {
	if !plain(base) {
		return unix.EINVAL
	}
	err := retry(func() error { return call(int(d.file.Fd())) })
	runtime.KeepAlive(d.file)
	return err
}

// plain tells whether base is a name that a system call finds in the directory it is given, and nowhere else.
func plain(base string) bool {
	return base != "" && base != "." && base != ".." && !strings.Contains(base, "/")
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
