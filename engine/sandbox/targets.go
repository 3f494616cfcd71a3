package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// Targets are what the mounts of steps need in their root: made before a step, left for the next one, which needs the same,
// and removed before anyone else looks at the root, unless a step made them its own.
type Targets struct {
	files    *rootfs.FS
	made     []string
	uid, gid int // whose they are: the step's root
	// Parents are the directories that something was made in, by their names from the root ("etc"), as they were before.
	// Overlay has copied those up from the layer below though nothing about them has changed.
	Parents map[string]rootfs.Info
}

// fixed are directories that every root needs and keeps.
var fixed = []string{"/proc", "/sys", "/dev"}

// unchanged marks what was made: a step that changes it gives it another time.
var unchanged = time.Unix(0, 0)

// maxLinks is the kernel's own limit for links met in one lookup (path_resolution(7)).
const maxLinks = 40

// NewTargets returns no targets yet, of steps in the given root.
func NewTargets(files *rootfs.FS) *Targets {
	return &Targets{files: files, Parents: map[string]rootfs.Info{}}
}

// Make makes what the mounts of a step need and the root lacks. The caller calls Remove some time after the step, also when
// Make fails.
func (t *Targets) Make(s *Step) error {
	if s.Users != nil {
		uid, gid := s.Users.HostID(0, 0)
		t.uid, t.gid = int(uid), int(gid)
	}
	for _, name := range fixed {
		if info, err := t.files.Lstat(name); err == nil && !info.Mode.IsDir() {
			return fmt.Errorf("%s in the container: %w", name, unix.ENOTDIR)
		} else if err == nil {
			continue
		}
		if err := t.files.Mkdir(name, 0o755, false); err != nil {
			return err
		}
		if err := t.own(name); err != nil {
			return err
		}
	}
	for _, f := range s.Files {
		if err := t.need(f.Target, false, 0); err != nil {
			return err
		}
	}
	for _, b := range s.Binds {
		if slices.ContainsFunc(fixed, func(name string) bool { return strings.HasPrefix(b.Target, name+"/") }) {
			continue // what the root has there is hidden
		}
		var st unix.Stat_t
		if err := unix.Stat(b.Source, &st); err != nil {
			return fmt.Errorf("looking at %s: %w", b.Source, err)
		}
		if err := t.need(b.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR, 0); err != nil {
			return err
		}
	}
	return nil
}

// Targets lists what the step's mounts need in the root.
func (s *Step) Targets() []string {
	names := make([]string, 0, len(s.Files)+len(s.Binds))
	for _, f := range s.Files {
		names = append(names, f.Target)
	}
	for _, b := range s.Binds {
		names = append(names, b.Target)
	}
	return names
}

// need makes sure that name leads to something: where it is a link that leads nowhere, where the link points to.
func (t *Targets) need(name string, directory bool, links int) error {
	if _, err := t.files.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	name = strings.TrimRight(name, "/")
	dir, base := path.Split(name)
	if base == "" || base == "." || base == ".." {
		return &fs.PathError{Op: "make", Path: name, Err: fs.ErrNotExist}
	}
	if dir == "" {
		dir = "/"
	}
	if err := t.need(dir, true, links); err != nil {
		return err
	}
	if target, err := t.files.Readlink(name); err == nil {
		if links++; links > maxLinks {
			return &fs.PathError{Op: "make", Path: name, Err: unix.ELOOP}
		}
		if !path.IsAbs(target) {
			target = dir + target // not path.Join, which would resolve ".." before the links in dir
		}
		return t.need(target, directory, links)
	}
	return t.make(dir, name, directory)
}

func (t *Targets) make(dir, name string, directory bool) error {
	parent, err := t.files.Stat(dir)
	if err != nil {
		return err
	}
	if directory {
		err = t.files.Mkdir(name, 0o755, false)
	} else {
		err = t.files.WriteFile(name, nil, rootfs.Write{})
	}
	if err == nil {
		err = t.own(name)
	}
	if err != nil {
		return err
	}
	// By its real name from here on: the one it was made by may lead through links.
	if name, err = t.files.Resolve(name); err != nil {
		return err
	}
	dir = path.Dir(name)
	t.made = append(t.made, name)
	if _, noted := t.Parents[dir]; !noted && dir != "." && !slices.Contains(t.made, dir) {
		t.Parents[dir] = parent
	}
	if err := t.files.Chtimes(name, unchanged); err != nil {
		return err
	}
	return t.files.Chtimes(dir, parent.ModTime)
}

// own gives what was made to the step's root.
func (t *Targets) own(name string) error {
	if t.uid == 0 && t.gid == 0 {
		return nil // it is
	}
	return t.files.Chown(name, t.uid, t.gid, false)
}

// Remove removes what was made and is as it was, newest first. What the step has put something into, or replaced, stays.
func (t *Targets) Remove() error {
	var errs []error
	for i := len(t.made) - 1; i >= 0; i-- {
		errs = append(errs, t.remove(t.made[i]))
	}
	t.made = nil
	return errors.Join(errs...)
}

func (t *Targets) remove(name string) error {
	info, err := t.files.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the step has removed it
	}
	if err != nil {
		return err
	}
	if !info.ModTime.Equal(unchanged) || info.UID != t.uid || info.GID != t.gid {
		return nil
	}
	dir := path.Dir(name)
	parent, err := t.files.Stat(dir)
	if err != nil {
		return err
	}
	if err := t.files.Remove(name, false); err != nil {
		if errors.Is(err, unix.ENOTEMPTY) {
			return nil
		}
		return err
	}
	return t.files.Chtimes(dir, parent.ModTime)
}

// MakeDir makes a working directory, links in its name followed inside the root, and gives what it makes to the user.
func MakeDir(files *rootfs.FS, name string, user User) error {
	_, err := files.Stat(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if parent := path.Dir(name); parent != name {
		if err := MakeDir(files, parent, user); err != nil {
			return err
		}
	}
	if err := files.Mkdir(name, 0o755, false); err != nil {
		return err
	}
	return files.Chown(name, int(user.UID), int(user.GID), false)
}
