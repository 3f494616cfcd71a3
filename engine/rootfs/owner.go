package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Chmod gives what name leads to exactly mode: permissions, setuid, setgid, sticky. The special bits may come as
// fs.ModeSetuid and its siblings or as chmod(2)'s 0o7000. A mode with type bits fails with EINVAL.
func (f *FS) Chmod(name string, mode fs.FileMode) error {
	if mode.Type() != 0 {
		return failed("chmod", name, unix.EINVAL)
	}
	handle, err := f.follow(name)
	if err != nil {
		return failed("chmod", name, err)
	}
	defer handle.Close()
	return failed("chmod", name, chmod(handle, mode))
}

// chmod changes the mode of an O_PATH descriptor's object. fchmod(2) refuses such descriptors and fchmodat2(2) is
// young (Linux 6.6), so it goes through /proc. An object that is right already isn't touched: on overlay that would
// copy it up.
func chmod(handle *os.File, mode fs.FileMode) error {
	if st, err := handle.Stat(); err == nil && bits(st.Mode()) == bits(mode) {
		return nil
	}
	return os.Chmod(self(handle), fileMode(mode))
}

// bits returns the chmod(2) bits of a mode in either notation.
func bits(mode fs.FileMode) uint32 {
	b := uint32(mode) & 0o7777 // Go keeps nothing in 0o7000, so these can only be meant as chmod(2) means them
	if mode&fs.ModeSetuid != 0 {
		b |= unix.S_ISUID
	}
	if mode&fs.ModeSetgid != 0 {
		b |= unix.S_ISGID
	}
	if mode&fs.ModeSticky != 0 {
		b |= unix.S_ISVTX
	}
	return b
}

// fileMode returns the permissions of a mode in Go's notation: package os drops chmod(2)'s 0o7000 silently.
func fileMode(mode fs.FileMode) fs.FileMode {
	b := bits(mode)
	result := fs.FileMode(b & 0o777)
	if b&unix.S_ISUID != 0 {
		result |= fs.ModeSetuid
	}
	if b&unix.S_ISGID != 0 {
		result |= fs.ModeSetgid
	}
	if b&unix.S_ISVTX != 0 {
		result |= fs.ModeSticky
	}
	return result
}

// Chtimes gives what name leads to a time of last access and last change.
func (f *FS) Chtimes(name string, to time.Time) error {
	handle, err := f.follow(name)
	if err != nil {
		return failed("chtimes", name, err)
	}
	defer handle.Close()
	return failed("chtimes", name, os.Chtimes(self(handle), to, to))
}

// Chown gives what name leads to an owner and a group; -1 leaves one as it is. With recursive everything below a
// directory gets them too: links themselves, never their targets, and nothing on a mount below, which is an error.
// What has them already isn't touched; of what changes, the kernel clears setuid, setgid and file capabilities, so
// Chmod comes after Chown.
func (f *FS) Chown(name string, uid, gid int, recursive bool) error {
	handle, err := f.follow(name)
	if err != nil {
		return failed("chown", name, err)
	}
	defer handle.Close()
	if recursive {
		return chownTree(f.ctx, handle, name, uid, gid)
	}
	return failed("chown", name, chown(handle, uid, gid))
}

// chownTree changes what is in a directory before the directory itself, which may afterwards be closed to the caller.
// One descriptor is open per level.
func chownTree(ctx context.Context, handle *os.File, name string, uid, gid int) error {
	st, err := handle.Stat()
	if err != nil {
		return failed("chown", name, err)
	}
	var names []string
	if st.IsDir() {
		if names, err = list(handle); err != nil {
			return failed("chown", name, err)
		}
	}
	for _, entry := range names {
		inside := path.Join(name, entry)
		if ctx.Err() != nil {
			return failed("chown", inside, context.Cause(ctx))
		}
		child, err := below(handle, entry)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return failed("chown", inside, err)
		}
		err = chownTree(ctx, child, inside, uid, gid)
		child.Close()
		if err != nil {
			return err
		}
	}
	return failed("chown", name, chown(handle, uid, gid))
}

// chown changes the owner of an O_PATH descriptor's object, which may be a link.
func chown(handle *os.File, uid, gid int) error {
	st, err := handle.Stat()
	if err != nil {
		return err
	}
	sys := st.Sys().(*syscall.Stat_t)
	if (uid == -1 || uid == int(sys.Uid)) && (gid == -1 || gid == int(sys.Gid)) {
		return nil
	}
	err = retry(func() error {
		return unix.Fchownat(int(handle.Fd()), "", uid, gid, unix.AT_EMPTY_PATH)
	})
	if err == unix.EINVAL { // chown(2) gives EINVAL for nothing else here, and "invalid argument" explains nothing
		err = fmt.Errorf("uid %d or gid %d is not mapped in this user namespace: %w", uid, gid, err)
	}
	return err
}

const (
	maxID       = 1<<32 - 2 // 2^32-1 is chown(2)'s "leave it"
	maxAccounts = 16 << 20  // bytes of /etc/passwd or /etc/group; the largest real ones have a few
	passwd      = "etc/passwd"
	group       = "etc/group"
)

// LookupOwner returns the IDs for a user and a group, each a number, taken as it is, or a name that the tree's own
// /etc/passwd or /etc/group holds. "" gives -1, Chown's "leave it": a user's primary group isn't implied.
func (f *FS) LookupOwner(userName, groupName string) (uid, gid int, err error) {
	if uid, err = f.lookup("user", userName, passwd); err != nil {
		return 0, 0, err
	}
	if gid, err = f.lookup("group", groupName, group); err != nil {
		return 0, 0, err
	}
	return uid, gid, nil
}

// lookup finds name's ID in file, in which the first field is the name and the third the ID: true of passwd(5) and
// group(5). A line with a broken ID is an error here; the usual readers make it 0, which is root.
func (f *FS) lookup(what, name, file string) (int, error) {
	if name == "" {
		return -1, nil
	}
	if strings.Trim(name, "0123456789") == "" {
		id, err := parseID(name)
		if err != nil {
			return 0, fmt.Errorf("%s %w", what, err)
		}
		return id, nil
	}
	data, err := f.ReadFile(file, maxAccounts)
	if err != nil {
		return 0, fmt.Errorf("looking up %s %q: %w", what, name, err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if fields[0] != name || len(fields) < 3 {
			continue
		}
		id, err := parseID(fields[2])
		if err != nil {
			return 0, fmt.Errorf("looking up %s %q in %s: %w", what, name, shown(file), err)
		}
		return id, nil
	}
	return 0, fmt.Errorf("%s has no %s %q", shown(file), what, name)
}

func parseID(text string) (int, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || id > maxID {
		return 0, fmt.Errorf("ID %q is not a number from 0 to %d", text, maxID)
	}
	return int(id), nil
}
