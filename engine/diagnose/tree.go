package diagnose

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// errHidden is what looking for a file gives that is where nobody can look any more.
var errHidden = errors.New("it was shown to the step alone")

// seen is a file as a command saw it, links followed. Close it.
type seen struct {
	name   string // of the command's tree, without links
	mount  *Mount
	files  *rootfs.FS // the tree that it is in, and
	inside string     // its name there, without links
	own    bool       // files is for this one
}

func (f *seen) close() {
	if f.own {
		f.files.Close()
	}
}

// see follows a name as the command did: from the tree into mounts and back, and never to where a link leads on the host. It fails
// with errHidden where what a mount showed can't be looked at.
func (s *Scene) see(name string) (*seen, error) {
	at, rest, links := "/", reach.Components(name), 0
	f, err := s.open(at)
	for err == nil && len(rest) > 0 {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		f.close()
		if f, err = s.open(next); err != nil {
			break
		}
		var info rootfs.Info
		if info, err = f.files.Lstat(f.inside); absent(err) && s.mountsBelow(next) {
			// What was made there for a mount is gone again.
			info, err = rootfs.Info{Mode: fs.ModeDir}, nil
		} else if err != nil {
			break
		}
		switch {
		case info.Mode&fs.ModeSymlink != 0:
			if links++; links > reach.MostLinks {
				err = unix.ELOOP
			}
			if path.IsAbs(info.Link) {
				at = "/"
			}
			rest = append(reach.Components(info.Link), rest...)
			continue
		case len(rest) > 0 && !info.Mode.IsDir():
			err = unix.ENOTDIR
		}
		at = next
	}
	if err != nil {
		if f != nil {
			f.close()
		}
		return nil, &fs.PathError{Op: "looking for", Path: name, Err: err}
	}
	if f.name == at {
		return f, nil
	}
	f.close() // the last was a link to what came before
	return s.open(at)
}

// open returns a file of the command's tree by a name without links.
func (s *Scene) open(name string) (*seen, error) {
	m := s.mountAt(name)
	switch {
	case m == nil && s.Files == nil, m != nil && m.hidden():
		return nil, errHidden
	case m == nil:
		return &seen{name: name, files: s.Files, inside: name}, nil
	}
	// The user has named the source, and what he named was shown, links followed.
	source, err := filepath.EvalSymlinks(m.Source)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(source)
	if err != nil {
		return nil, err
	}
	base := "/"
	if !info.IsDir() {
		source, base = filepath.Dir(source), filepath.Base(source)
	}
	files, err := rootfs.Open(source)
	if err != nil {
		return nil, err
	}
	return &seen{name: name, mount: m, files: files, inside: path.Join(base, strings.TrimPrefix(name, m.Target)), own: true}, nil
}

// stat describes a file that the command saw.
func (s *Scene) stat(name string) (rootfs.Info, error) {
	f, err := s.see(name)
	if err != nil {
		return rootfs.Info{}, err
	}
	defer f.close()
	return f.files.Lstat(f.inside)
}

// absent tells whether an error of stat means that the file wasn't there. Others leave that open.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// mountAt returns the mount that a step's file is in, the innermost one, or nil.
func (s *Scene) mountAt(name string) (found *Mount) {
	for i, m := range s.Mounts {
		if reach.Within(m.Target, name) && (found == nil || len(m.Target) >= len(found.Target)) {
			found = &s.Mounts[i]
		}
	}
	return found
}

// mountsBelow tells whether something is mounted below a place.
func (s *Scene) mountsBelow(name string) bool {
	return slices.ContainsFunc(s.Mounts, func(m Mount) bool { return m.Target != name && reach.Within(name, m.Target) })
}
