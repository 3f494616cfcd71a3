package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// entry is one entry of a source's directory.
type entry struct {
	dir  *rootfs.Dir
	base string
	st   unix.Stat_t
}

func (e entry) kind() uint32 { return e.st.Mode & unix.S_IFMT }

// put copies an entry that is no directory to the entry base of dir, in place of whatever is there; rel is the new name
// below the destination.
func (w *walk) put(e entry, dir *rootfs.Dir, base, rel string) error {
	switch e.kind() {
	case unix.S_IFREG:
		return w.putFile(e, dir, base, rel)
	case unix.S_IFLNK:
		target, err := e.dir.Readlink(e.base)
		if err != nil {
			return err
		}
		if err := replacing(dir, base, func() error { return dir.Symlink(target, base) }); err != nil {
			return err
		}
		return w.own(e, dir, base)
	case unix.S_IFCHR, unix.S_IFBLK:
		if !w.options.Devices {
			return nil
		}
	}
	if err := replacing(dir, base, func() error { return dir.Mknod(base, e.kind()|0o600, e.st.Rdev) }); err != nil {
		return err
	}
	return errors.Join(dir.Chown(base, w.owner(e).UID, w.owner(e).GID), dir.Chmod(base, w.mode(e)), dir.Chtimes(base, w.time(e)))
}

// putFile copies a regular file, or links it to the copy that another of its names has led to.
func (w *walk) putFile(e entry, dir *rootfs.Dir, base, rel string) error {
	id := inode{e.st.Dev, e.st.Ino}
	if first, known := w.links[id]; known {
		return replacing(dir, base, func() error { return dir.Link(w.root, first, base) })
	}
	from, err := e.dir.Read(e.base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	defer from.Close()
	var to *os.File
	err = replacing(dir, base, func() (err error) { to, err = dir.Create(base); return err })
	if err != nil {
		return err
	}
	err = w.data.copy(w.ctx, to, from, e.st)
	if err == nil {
		err = w.dress(e, from, to, dir, base)
	}
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	if e.st.Nlink > 1 {
		w.links[id] = rel
	}
	return nil
}

// replacing makes the entry base of dir with create, in place of whatever is there.
func replacing(dir *rootfs.Dir, base string, create func() error) error {
	err := create()
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := dir.Remove(base); err != nil {
		return fmt.Errorf("replacing what is there: %w", err)
	}
	return create()
}

// dress gives a file or directory the attributes of its source. The owner comes first, because chown(2) clears setuid,
// setgid and file capabilities; the time comes last.
func (w *walk) dress(e entry, from, to *os.File, dir *rootfs.Dir, base string) error {
	owner := w.owner(e)
	if err := unix.Fchown(int(to.Fd()), owner.UID, owner.GID); err != nil {
		return mapped(owner, err)
	}
	if err := unix.Fchmod(int(to.Fd()), w.mode(e)); err != nil {
		return err
	}
	if err := copyAttributes(to, from); err != nil {
		return err
	}
	return dir.Chtimes(base, w.time(e))
}

// own gives a link the attributes it can have.
func (w *walk) own(e entry, dir *rootfs.Dir, base string) error {
	owner := w.owner(e)
	if err := dir.Chown(base, owner.UID, owner.GID); err != nil {
		return mapped(owner, err)
	}
	return dir.Chtimes(base, w.time(e))
}

// mapped explains why an owner can't be given: chown(2) gives EINVAL for nothing else.
func mapped(owner Owner, err error) error {
	if err == unix.EINVAL {
		return fmt.Errorf("uid %d or gid %d is not mapped in this user namespace: %w", owner.UID, owner.GID, err)
	}
	return err
}

func (w *walk) owner(e entry) Owner {
	if w.options.Owner != nil {
		return *w.options.Owner
	}
	return Owner{int(e.st.Uid), int(e.st.Gid)}
}

// mode returns the permissions of a copy. Those that are asked for lose setuid, setgid and sticky, as in the library.
func (w *walk) mode(e entry) uint32 {
	if w.chmod == nil {
		return e.st.Mode & 0o7777
	}
	own := fs.FileMode(e.st.Mode & 0o777)
	if e.kind() == unix.S_IFDIR {
		own |= fs.ModeDir // which "X" looks at
	}
	return uint32(w.chmod.Apply(own)) & 0o777
}

// time returns the time of last change that a copy gets: rounded to seconds, as archives have it.
func (w *walk) time(e entry) time.Time {
	if w.options.Timestamp != nil {
		return *w.options.Timestamp
	}
	return time.Unix(e.st.Mtim.Unix()).Round(time.Second)
}
