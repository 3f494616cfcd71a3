package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// maxLinks is the kernel's own limit for links met in one lookup (path_resolution(7)).
const maxLinks = 40

// Write says how WriteFile writes.
type Write struct {
	// Mode is the file's mode afterwards, exactly, whatever the umask; nil means 0644 for a new file and no change to
	// one that exists.
	Mode   *fs.FileMode
	Append bool // add to the end; otherwise the content is replaced
}

// WriteFile writes data to the regular file that name leads to, creating it where the links in name point, inside the
// root: a dangling link's target is created, as a shell's ">" does. An existing file is written in place and keeps its
// owner, its other names and, without Mode, its permissions (the kernel may clear setuid and setgid). It isn't atomic:
// a full disk leaves a part.
func (f *FS) WriteFile(name string, data []byte, how Write) error {
	mode := fs.FileMode(0o644)
	if how.Mode != nil {
		mode = *how.Mode
	}
	flags := unix.O_WRONLY | unix.O_TRUNC
	if how.Append {
		flags = unix.O_WRONLY | unix.O_APPEND
	}
	file, created, err := f.openOrCreate(name, flags, mode)
	if err != nil {
		return failed("write", name, err)
	}
	_, err = file.Write(data)
	if err == nil && (created || how.Mode != nil) {
		// After the write, which clears setuid and setgid, and by descriptor, so that the umask has no say.
		err = file.Chmod(fileMode(mode))
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return failed("write", name, err)
}

// openOrCreate opens what name leads to, or creates it. O_CREAT can't do both at once: without O_EXCL it would open a
// pipe or a device before anyone could look at it.
func (f *FS) openOrCreate(name string, flags int, mode fs.FileMode) (file *os.File, created bool, err error) {
	for range maxLinks {
		handle, err := f.follow(name)
		if err == nil {
			file, err = openRegular(handle, flags)
			handle.Close()
			return file, false, err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, false, err
		}
		file, name, err = f.create(name, flags, mode)
		if file != nil || err != nil {
			return file, true, err
		}
	}
	return nil, false, unix.ELOOP
}

// create makes the file name. When something is there after all, a dangling link or what another process just made, it
// returns the name to try next instead.
func (f *FS) create(name string, flags int, mode fs.FileMode) (file *os.File, next string, err error) {
	if name[len(name)-1] == '/' { // never empty: the root exists
		return nil, "", unix.EISDIR
	}
	dir, base, err := f.parent(name)
	if err != nil {
		return nil, "", err
	}
	defer dir.Close()
	// Never more permissions than asked for, not even until Chmod; the special bits come with Chmod.
	file, err = openat(dir, base, flags|unix.O_CREAT|unix.O_EXCL, bits(mode)&0o777)
	if !errors.Is(err, fs.ErrExist) {
		return file, "", err
	}
	target, err := readlinkat(dir, base)
	switch {
	case errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist): // not a link, or gone again
		return nil, name, nil
	case err != nil:
		return nil, "", err
	case path.IsAbs(target):
		return nil, target, nil
	}
	// Not path.Join, which would cut "link/../x" down to "x" before link is resolved.
	parent, _ := split(name)
	return nil, parent + target, nil
}

// Mkdir makes a directory with exactly the mode given, whatever the umask. It fails with fs.ErrExist when name exists.
// With parents, missing directories on the way are made too, with mode 0755, and a directory that exists is left as it
// is.
func (f *FS) Mkdir(name string, mode fs.FileMode, parents bool) error {
	if parents {
		return failed("mkdir", name, f.mkdirAll(name, mode))
	}
	return failed("mkdir", name, f.mkdir(name, mode))
}

func (f *FS) mkdirAll(name string, mode fs.FileMode) error {
	err := f.isDir(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, base := split(name)
	if base == "" {
		return err // "missing/..": making it in order to leave it again would be a surprise
	}
	if err := f.mkdirAll(dir, 0o755); err != nil {
		return err
	}
	err = f.mkdir(name, mode)
	if errors.Is(err, fs.ErrExist) && f.isDir(name) == nil {
		return nil // another process was faster
	}
	return err
}

// isDir returns nil when name leads to a directory.
func (f *FS) isDir(name string) error {
	handle, err := f.follow(name)
	if err != nil {
		return err
	}
	defer handle.Close()
	if st, err := handle.Stat(); err != nil {
		return err
	} else if !st.IsDir() {
		return unix.ENOTDIR
	}
	return nil
}

func (f *FS) mkdir(name string, mode fs.FileMode) error {
	dir, base, err := f.parent(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = retry(func() error { return unix.Mkdirat(int(dir.Fd()), base, bits(mode)&0o777) })
	if err != nil {
		return err
	}
	made, err := openat(dir, base, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer made.Close()
	return chmod(made, mode)
}

// Symlink makes a link called name that holds target, verbatim: it may be absolute, dangling or lead out of the root,
// for it is only ever followed inside. It fails with fs.ErrExist when name exists, as a link too.
func (f *FS) Symlink(target, name string) error {
	dir, base, err := f.parent(name)
	if err != nil {
		return failed("symlink", name, err)
	}
	defer dir.Close()
	err = retry(func() error { return unix.Symlinkat(target, int(dir.Fd()), base) })
	return failed("symlink", name, err)
}

// Rename gives the entry old (a link itself, not its target) the name new, replacing a file or an empty directory
// there. Overlay can't rename a directory that comes from a lower layer; that and another file system below the root
// fail with EXDEV.
func (f *FS) Rename(old, new string) error {
	return renameError(old, new, func() error {
		from, fromBase, err := f.parent(old)
		if err != nil {
			return err
		}
		defer from.Close()
		to, toBase, err := f.parent(new)
		if err != nil {
			return err
		}
		defer to.Close()
		return retry(func() error { return unix.Renameat(int(from.Fd()), fromBase, int(to.Fd()), toBase) })
	}())
}

func renameError(old, new string, err error) error {
	if err == nil {
		return nil
	}
	err = cause(err)
	if errors.Is(err, unix.EXDEV) {
		err = fmt.Errorf("the two are on different mounts, or the directory comes from a layer below: %w", err)
	}
	return &os.LinkError{Op: "rename", Old: shown(old), New: shown(new), Err: err}
}
