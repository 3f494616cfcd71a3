// Package transfer copies files and directories from one tree into another, with the outcome that the Add of buildah's
// library has: which names are taken, what a destination means, what replaces what, and which attributes come along.
//
// The library re-executes the process up to six times for a copy and passes the files through tar archives between those
// processes, each in a chroot. Here both trees are open in one process, and every file is reached through descriptors of
// package rootfs, which no link leads out of either tree.
//
// What comes along is what a tar archive of the library's would carry: permissions with setuid, setgid and sticky, times
// rounded to seconds, the extended attributes user.*, security.capability and security.ima, hard links within one source.
// Sockets inside a directory are left out. A directory's content is copied, so the directory itself gives nothing to the
// destination. A new entry replaces an old one, a whole directory too; only a directory on a directory merges.
//
// Where it is better than the library it differs on purpose: what is wrong with a source or the destination is found
// before anything is written, holes stay holes, files of /proc can be copied, and a directory isn't copied into itself.
package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/tonistiigi/dchapes-mode"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// ErrNotCovered is New's answer to what only the library can do.
var ErrNotCovered = errors.New("copying this is left to the library")

// Owner is a user and a group by number.
type Owner struct{ UID, GID int }

// Options say what is copied where.
type Options struct {
	From    *rootfs.FS
	Sources []string // names in From, absolute; they may hold wildcards (* ? [])
	To      *rootfs.FS
	Dest    string // a name in To, absolute
	// Directory says that Dest is one even if it doesn't exist, as it always is for several sources.
	Directory bool
	// Name is what the one source, a file, is called in a directory; "" for its own name.
	Name      string
	Owner     *Owner     // of all that is made; nil keeps the sources' own, and makes missing directories root's
	Chmod     string     // permissions of all that is copied, as chmod(1) has them; "" keeps the sources' own
	Timestamp *time.Time // of all that is copied; nil keeps the sources' own
	Exclude   []string   // patterns of a .containerignore, for names from From's root
	NoFollow  bool       // copy the links that Sources name, not what they lead to

	NoWildcards   bool // a name with wildcards is an error
	EmptyWildcard bool // a pattern may match nothing; what it would have copied is then nothing
	Devices       bool // make device nodes; otherwise they are left out: no user namespace can have new ones
	// Archive tells whether an open file is one that is to be unpacked, which isn't covered; nil unpacks none.
	Archive func(name string) bool
}

// Transfer is a copy that can be done: its sources are there, and its destination can be what it has to be.
type Transfer struct {
	options Options
	exclude *exclusion
	chmod   *mode.Set // nil keeps
	sources []source
	dir     string // of To, where the entries are put; it may have yet to be made
	rename  string // the name of the one file that is copied, or "" for its own
	// created says that a directory which yields nothing still counts as copied: its counterpart is made
	created bool
	data    data
}

// New looks at the sources and the destination. It writes nothing. The error is ErrNotCovered when the library has to do
// it, fs.ErrNotExist is in it when a source isn't there.
func New(o Options) (*Transfer, error) {
	t := &Transfer{options: o}
	var err error
	if t.exclude, err = newExclusion(o.Exclude); err != nil {
		return nil, err
	}
	if o.Chmod != "" {
		set, err := mode.Parse(o.Chmod)
		if err != nil {
			return nil, fmt.Errorf("parsing chmod %q: %w", o.Chmod, err)
		}
		t.chmod = &set
	}
	if t.sources, err = t.match(); err == nil && len(t.sources) > 0 {
		err = t.aim()
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// aim decides what the destination is.
func (t *Transfer) aim() error {
	first := t.sources[0].items[0]
	one := len(t.options.Sources) == 1
	directory := t.options.Directory || !one || first.isDir()
	file := one && first.isRegular()
	t.created = directory && !file
	t.dir = t.options.Dest
	if special(t.dir) {
		return ErrNotCovered
	}
	_, err := t.options.To.Lstat(t.dir)
	there := err == nil
	info, err := t.options.To.Stat(t.dir)
	isFile := err == nil && info.Mode.IsRegular()
	switch {
	case isFile && directory:
		return fmt.Errorf("destination %s already exists but is not a directory", t.options.Dest)
	case isFile, !there && !directory && file:
		t.dir, t.rename = path.Split(path.Clean(t.dir))
	}
	if t.rename == "" {
		return nil
	}
	for _, item := range t.sources[0].items {
		if item.isDir() {
			return ErrNotCovered // "cp *" onto one name, with directories among what matches
		}
	}
	return nil
}

// Copy makes the destination, and copies. When it fails, what was copied by then stays.
func (t *Transfer) Copy(ctx context.Context) error {
	if len(t.sources) == 0 {
		return nil
	}
	if err := t.makeDir(t.dir, maxLinks); err != nil {
		return err
	}
	root, err := t.options.To.Sub(t.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, source := range t.sources {
		copied := 0
		for _, item := range source.items {
			n, err := t.copyItem(ctx, root, item)
			if err != nil {
				return err
			}
			copied += n
		}
		if copied == 0 {
			return fmt.Errorf("%s: everything that matches is excluded", source.pattern)
		}
	}
	return nil
}

// copyItem returns how much it copied, of which only nothing and something matter.
func (t *Transfer) copyItem(ctx context.Context, root *rootfs.FS, item item) (copied int, err error) {
	if item.name == "/" {
		copied++ // all of a tree, which may be empty
	} else if t.exclude.matches(item.name) {
		if !item.isDir() || !t.exclude.mayIncludeBelow(item.name) {
			return 0, nil
		}
	} else if t.created {
		copied++
	}
	to, err := root.OpenDir("/")
	if err != nil {
		return 0, err
	}
	defer to.Close()
	w := &walk{Transfer: t, ctx: ctx, root: root, item: item, links: map[inode]string{}}
	if w.top, err = to.Stat(); err != nil {
		return 0, err
	}
	if item.st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = w.directory(to)
	} else {
		err = w.single(to)
	}
	return copied + w.copied, err
}

// single copies an item that is no directory.
func (w *walk) single(to *rootfs.Dir) error {
	dir, base := path.Split(w.item.path)
	if w.exclude.matches(w.item.path) { // what a link leads to
		return fmt.Errorf("%s: %s, where the link leads, is excluded", w.item.name, w.item.path)
	}
	if w.item.st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return fmt.Errorf("%s is a socket, which can't be copied", w.item.name)
	}
	from, err := w.options.From.OpenDir(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	name := w.base(w.item)
	w.copied++
	return named(w.item.name, w.put(entry{from, base, w.item.st}, to, name, name))
}

// maxLinks is how many dangling links may lead to a destination, as path_resolution(7) has it.
const maxLinks = 40

// makeDir makes the directory name of the destination and those above it, unless they are there. Links lead on inside,
// dangling ones to where they point.
func (t *Transfer) makeDir(name string, links int) error {
	to := t.options.To
	info, err := to.Stat(name)
	switch {
	case err == nil && info.Mode.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("destination %s already exists but is not a directory", name)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent, base := path.Split(path.Clean(name))
	if err := t.makeDir(parent, links); err != nil {
		return err
	}
	dir, err := to.OpenDir(parent)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = t.mkdir(dir, base)
	if errors.Is(err, fs.ErrExist) && links > 0 {
		target, err := dir.Readlink(base)
		if err != nil {
			return named(name, err)
		}
		if !path.IsAbs(target) {
			target = parent + target // uncleaned: ".." goes up from where parent leads
		}
		return t.makeDir(target, links-1)
	}
	return named(name, err)
}

// mkdir makes a directory that no source has.
func (t *Transfer) mkdir(dir *rootfs.Dir, base string) error {
	if err := dir.Mkdir(base); err != nil {
		return err
	}
	var owner Owner
	if t.options.Owner != nil {
		owner = *t.options.Owner
	}
	if err := dir.Chown(base, owner.UID, owner.GID); err != nil {
		return mapped(owner, err)
	}
	return dir.Chmod(base, 0o755)
}

// named gives a bare error the name it is about.
func named(name string, err error) error {
	var at *fs.PathError
	if err == nil || errors.As(err, &at) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Target returns the name in To of what the one source becomes, if that is a file.
func (t *Transfer) Target() string {
	item := t.sources[0].items[0]
	return path.Join(t.dir, t.base(item))
}

// base returns what an item that is no directory is called at the destination.
func (t *Transfer) base(i item) string { return cmp.Or(t.rename, t.options.Name, path.Base(i.name)) }
