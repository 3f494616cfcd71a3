package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	run   *Builder
	name  reference.Name // what the library writes to
	asked string         // the place, as the user has named it
	path  string         // the same without links

	beside    string                          // the directory that a neighbour is made in
	there     fs.FileInfo                     // what was there before, nil for nothing
	old       []string                        // of a dir: that was there: what was in it
	written   string                          // what the library writes to; the neighbour, or what is to be copied to it
	temporary string                          // the neighbour, "" while there is none
	put       func(ctx context.Context) error // has the neighbour take the place; nil where the library writes to the place itself
}

// place prepares to write an image to the name. Where it leads to no file or directory, to a pipe or another special file, or to where
// no neighbour can be made or named, the library writes to the place itself, and says why not if it can't.
//
// With a stage, a directory of the run's own, the image is written there, and has a neighbour only when it is complete: nobody who
// looks at the files around the place meanwhile sees one.
func (b *Builder) place(name reference.Name, stage string) (*placing, error) {
	p := &placing{run: b, name: name, asked: name.Path()}
	if p.asked == "" || !p.resolve() {
		return p, nil
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
	// Names of other transports have no colon in their paths, which a link may have.
	if err != nil || name.Transport != dirTransport && strings.Contains(p.path+stage, ":") || !writable(p.beside) {
		p.put = nil
	}
	if p.put == nil {
		return p, nil
	}
	if stage != "" {
		p.written = filepath.Join(stage, filepath.Base(p.path))
		err = os.MkdirAll(stage, 0o700)
		if err == nil && !p.single() {
			err = os.Mkdir(p.written, 0o755)
		}
	} else {
		err = p.makeNeighbour()
		p.written = p.temporary
	}
	if err == nil {
		err = p.fill()
	}
	if err != nil {
		err = p.explain(fmt.Errorf("making a place for the image: %w", err))
		p.Close()
		if cantMake(err) {
			p.put = nil
			return p, nil
		}
		return nil, err
	}
	p.name = name.At(p.written)
	return p, nil
}

// resolve follows links, and tells whether that leads to something, or to where something can be.
func (p *placing) resolve() bool {
	p.path = filepath.Clean(p.asked)
	real, err := filepath.EvalSymlinks(p.path)
	if err == nil {
		p.path = real
		return true
	}
	_, there := os.Lstat(p.path) // a link to nowhere, perhaps
	return errors.Is(err, fs.ErrNotExist) && there != nil
}

// single tells whether the image is one file.
func (p *placing) single() bool {
	return p.name.Transport == ociArchive || p.name.Transport == dockerArchive
}

// ref is the library's form of the name that is written to, for one that has a path; other is returned for one that hasn't.
func (p *placing) ref(other types.ImageReference) (types.ImageReference, error) {
	if p.put == nil {
		return other, nil
	}
	return p.name.Ref()
}

// writable tells whether this user may write to a file, or make files in a directory.
func writable(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS) == nil
}

// cantMake tells whether an error is about who may make files there, and not about room.
func cantMake(err error) bool {
	return slices.ContainsFunc([]error{fs.ErrNotExist, fs.ErrPermission, unix.EROFS, unix.ENOTDIR, unix.ENAMETOOLONG}, func(reason error) bool {
		return errors.Is(err, reason)
	})
}

// makeNeighbour makes the neighbour: an empty file or directory, with the permissions, owner and group of any new one there. The run's
// ID is in its name.
func (p *placing) makeNeighbour() error {
	temporary := fmt.Sprintf("%s/%s%s%s", p.beside, p.neighbours(), p.run.options.Journal.ID(), rand.Text()[:8])
	if err := p.run.options.Journal.Note(journal.Temporary, temporary); err != nil {
		return err
	}
	p.temporary = temporary
	if !p.single() {
		return os.Mkdir(temporary, 0o755)
	}
	made, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	return made.Close()
}

// neighbours is how the names of all neighbours of the place begin.
func (p *placing) neighbours() string { return "." + filepath.Base(p.path) + "." }

// fill shows the library what it wants to see of the place.
func (p *placing) fill() error {
	switch {
	case p.there == nil || p.single():
		return nil
	case p.name.Transport == dirTransport:
		return p.copyVersion()
	}
	return p.linkBlobs()
}

// finish has the image take its place if it was written without an error, which is returned otherwise, about the place.
func (p *placing) finish(ctx context.Context, err error) error {
	if p.put == nil {
		return err
	}
	if err == nil {
		err = p.deliver(ctx)
	}
	if err != nil {
		return p.explain(err)
	}
	p.Close()
	return nil
}

// deliver has the image take its place. It is on the disk before that: the machine's end is no worse than the run's.
func (p *placing) deliver(ctx context.Context) error {
	if p.temporary == "" {
		if err := p.makeNeighbour(); err != nil {
			return err
		}
		if err := copyImage(ctx, p.written, p.temporary); err != nil {
			return err
		}
	}
	err := filepath.WalkDir(p.temporary, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		return syncFile(path)
	})
	if err != nil {
		return err
	}
	return p.put(ctx)
}

// Close gives up what isn't finished, and leaves nothing of it behind. What can't be removed the run's end tries again.
func (p *placing) Close() {
	if p.temporary == "" {
		return
	}
	if err := removeGone(p.temporary); err != nil {
		p.run.options.Note(fmt.Sprintf("%s is left: %v", p.temporary, err))
		p.run.mu.Lock()
		p.run.left = append(p.run.left, p.temporary)
		p.run.mu.Unlock()
	}
	p.temporary = ""
}

// removeGone removes a file or directory that may be gone.
func removeGone(path string) error {
	if err := rootfs.RemoveAll(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// explain names the place where an error names what was written instead.
func (p *placing) explain(err error) error {
	return &placeError{err, p.asNamed(err.Error())}
}

// asNamed returns a text with the user's name of the place.
func (p *placing) asNamed(text string) string {
	for _, path := range []string{p.temporary, p.written} {
		if path != "" {
			text = strings.ReplaceAll(text, path, p.asked)
		}
	}
	return text
}

// placeError is an error in other words.
type placeError struct {
	error
	text string
}

func (e *placeError) Error() string { return e.text }
func (e *placeError) Unwrap() error { return e.error }
