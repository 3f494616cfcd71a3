package engine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.podman.io/image/v5/types"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/reference"
	"github.com/rlbuild/rlbuild/engine/rootfs"
)

const (
	dirTransport = "dir"
	ociLayout    = "oci"
	ociArchive   = "oci-archive"
)

// placing is a file or directory that an image is written to, whole or not at all. The libraries write images where they are to be,
// as they come: what fails or is killed half-way leaves half an image, and nothing of the one that was there before. So they
// write to a neighbour, which takes the place in the end. Finish it, and close it in any case.
type placing struct {
	run  *Builder
	name reference.Name // what the library writes to
	path string         // of the place, without links

	temporary string      // the neighbour, "" where the library writes to the place itself
	mode      fs.FileMode // permissions of what was there before, 0 for nothing
	put       func() error
}

// place prepares to write an image to the name. Where it leads to no file or directory, to a pipe or another special file, to a file
// that is a mount point, or to where no neighbour can be made, the library writes to the place itself, and says why not
// if it can't.
func (b *Builder) place(name reference.Name) (*placing, error) {
	p := &placing{run: b, name: name, path: name.Path()}
	if p.path == "" {
		return p, nil
	}
	p.path = filepath.Clean(p.path)
	switch real, err := filepath.EvalSymlinks(p.path); {
	case err == nil:
		p.path = real
	case !errors.Is(err, fs.ErrNotExist):
		return p, nil
	default:
		if _, err := os.Lstat(p.path); err == nil {
			return p, nil // a link to nowhere
		}
	}
	var err error
	switch name.Transport {
	case ociArchive, dockerArchive:
		err = p.file()
	case dirTransport:
		err = p.directory()
	case ociLayout:
		err = p.layout()
	}
	if err != nil {
		p.name = name
		closed := p.Close()
		if cantMake(err) && closed == nil {
			return p, nil
		}
		return nil, fmt.Errorf("making a place for the image: %w", errors.Join(err, closed))
	}
	if p.temporary != "" {
		p.name = name.At(p.temporary)
	}
	return p, nil
}

// ref is the library's form of the name that is written to, for one that has a path; other is returned for one that hasn't.
func (p *placing) ref(other types.ImageReference) (types.ImageReference, error) {
	if p.temporary == "" {
		return other, nil
	}
	return p.name.Ref()
}

// cantMake tells whether an error is about who may make files there, and not about room.
func cantMake(err error) bool {
	for _, reason := range []error{fs.ErrNotExist, fs.ErrPermission, unix.EROFS, unix.ENOTDIR, unix.ENAMETOOLONG} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// finish has the image take its place if it was written without an error, which is returned otherwise, about the place.
func (p *placing) finish(err error) error {
	if p.temporary == "" {
		return err
	}
	if err == nil {
		err = p.put()
	}
	if err != nil {
		return &placeError{err, p.temporary, p.path}
	}
	if err := p.Close(); err != nil {
		p.run.options.Note(fmt.Sprintf("what was in %s before is left in %s: %v", p.path, p.temporary, err))
	}
	return nil
}

// Close gives up what isn't finished, and leaves nothing of it behind.
func (p *placing) Close() error {
	if p.temporary == "" {
		return nil
	}
	err := rootfs.RemoveAll(p.temporary)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		p.temporary = ""
	}
	return err
}

// placeError is an error that names the place where the library's names the neighbour.
type placeError struct {
	error
	temporary, path string
}

func (e *placeError) Error() string {
	return strings.ReplaceAll(e.error.Error(), e.temporary, e.path)
}
func (e *placeError) Unwrap() error { return e.error }

// file prepares an archive. The library refuses to write a docker-archive where there is something already.
func (p *placing) file() error {
	info, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.Mode().IsRegular(), p.name.Transport == dockerArchive && info.Size() > 0, mountPoint(p.path):
		return nil
	default:
		p.mode = info.Mode().Perm()
	}
	if err := p.near(filepath.Dir(p.path)); err != nil {
		return err
	}
	// The permissions are those of any new file, as the user's umask has them.
	made, err := os.OpenFile(p.temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		p.temporary = ""
		return err
	}
	p.put = func() error {
		if p.mode != 0 {
			if err := os.Chmod(p.temporary, p.mode); err != nil {
				return err
			}
		}
		return os.Rename(p.temporary, p.path)
	}
	return made.Close()
}

// near notes the name of a neighbour in this directory, in which the run's ID is.
func (p *placing) near(dir string) error {
	temporary := fmt.Sprintf("%s/.%s.%s%s", dir, filepath.Base(p.path), p.run.options.Journal.ID(), rand.Text()[:8])
	if err := p.run.options.Journal.Note(journal.Temporary, temporary); err != nil {
		return err
	}
	p.temporary = temporary
	return nil
}

// makeDir makes the neighbour, a directory.
func (p *placing) makeDir(dir string) error {
	if err := p.near(dir); err != nil {
		return err
	}
	err := os.Mkdir(p.temporary, 0o755)
	if err != nil {
		p.temporary = ""
	}
	return err
}

// mine tells whether a file is this user's.
func mine(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// mountPoint tells whether something is mounted at the path, which so can be written but not replaced. When in doubt it isn't.
func mountPoint(path string) bool {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &stat)
	return err == nil && stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
