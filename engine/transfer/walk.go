package transfer

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// walk copies one item.
type walk struct {
	*Transfer
	ctx    context.Context
	item   item
	root   *rootfs.FS       // the destination directory, from which links in it can't lead out
	top    unix.Stat_t      // of the destination directory
	links  map[inode]string // names below root of files that have other names
	copied int              // entries
}

type inode struct{ device, number uint64 }

// level is a directory that is being copied.
type level struct {
	parent *level // nil for the item itself
	base   string // the name in parent
	rel    string // the name below the item, "" for the item itself
	from   *rootfs.Dir
	to     *rootfs.Dir // nil as long as an excluded directory has nothing that isn't
	made   bool        // an excluded directory that need has made
}

// directory copies what the item holds into to.
func (w *walk) directory(to *rootfs.Dir) error {
	from, err := w.options.From.OpenDir(w.item.path)
	if err != nil {
		return err
	}
	defer from.Close()
	return w.descend(&level{from: from, to: to})
}

func (w *walk) descend(l *level) error {
	names, err := l.from.Names()
	if err != nil {
		return named(path.Join(w.item.path, l.rel), err)
	}
	for _, base := range names {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		name := path.Join(w.item.path, l.rel, base)
		st, err := l.from.Lstat(base)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return named(name, err)
		}
		if err := w.visit(l, entry{l.from, base, st}, name); err != nil {
			return named(name, err)
		}
	}
	return nil
}

// visit copies one entry of a directory.
func (w *walk) visit(l *level, e entry, name string) error {
	rel := path.Join(l.rel, e.base)
	excluded := w.exclude.matches(name)
	switch {
	case e.kind() == unix.S_IFDIR:
		if excluded && !w.exclude.mayDescend(name) {
			return nil
		}
		return w.subdirectory(&level{parent: l, base: e.base, rel: rel}, e, excluded)
	case excluded, e.kind() == unix.S_IFSOCK:
		return nil
	}
	if err := w.need(l); err != nil {
		return err
	}
	w.copied++
	return w.put(e, l.to, e.base, rel)
}

// subdirectory copies a directory in a directory. Its attributes come last: what is put into it would change its time,
// and its permissions may not allow it.
func (w *walk) subdirectory(l *level, e entry, excluded bool) (err error) {
	if e.st.Dev == w.top.Dev && e.st.Ino == w.top.Ino {
		return errors.New("is the destination: a directory can't be copied into itself")
	}
	if l.from, err = l.parent.from.Open(e.base); err != nil {
		return err
	}
	defer l.from.Close()
	if excluded {
		defer func() {
			if l.to != nil {
				l.to.Close()
			}
		}()
		err := w.descend(l)
		if err == nil && l.made && w.options.Timestamp != nil {
			err = l.parent.to.Chtimes(l.base, *w.options.Timestamp)
		}
		return err
	}
	if err := w.need(l.parent); err != nil {
		return err
	}
	w.copied++
	if l.to, err = mergeDir(l.parent.to, e.base); err != nil {
		return err
	}
	defer l.to.Close()
	if err := w.descend(l); err != nil {
		return err
	}
	return w.dress(e, l.from.File(), l.to.File(), l.parent.to, e.base)
}

// mergeDir opens the directory base, which it makes if there is none, in place of whatever else is there.
func mergeDir(dir *rootfs.Dir, base string) (*rootfs.Dir, error) {
	err := dir.Mkdir(base)
	if errors.Is(err, fs.ErrExist) {
		st, err := dir.Lstat(base)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err = dir.Remove(base); err == nil {
				err = dir.Mkdir(base)
			}
		}
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return dir.Open(base)
}

// need makes the counterpart of an excluded directory that has something which isn't, with those above it. One that is
// there is used, a link to one as well.
func (w *walk) need(l *level) error {
	if l.to != nil {
		return nil
	}
	if err := w.need(l.parent); err != nil {
		return err
	}
	err := w.mkdir(l.parent.to, l.base)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	l.made = err == nil
	l.to, err = w.root.OpenDir(l.rel)
	return err
}
