package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/image/v5/directory"

	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// Files of the dir: transport: dirVersion tells the library that a directory is one of its own, the only kind that it empties, and
// dirManifest makes it an image. Blobs are called as their digests.
const (
	dirVersion    = "version"
	dirManifest   = "manifest.json"
	dirSignatures = "signature-"
)

// directory prepares a directory with one image. In one that is there files take the places of others, one by one, and it is itself
// that stays.
func (p *placing) directory() error {
	info, err := os.Stat(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		p.beside, p.put = filepath.Dir(p.path), p.putDirectory
		return nil
	}
	if err != nil || !info.IsDir() {
		return err
	}
	p.there, p.beside, p.put = info, p.path, p.putDirectory
	p.old, err = p.list()
	return err // the library refuses it, whatever it is
}

// list returns what is in the place, neighbours excepted. It fails if that is no image that may be replaced.
func (p *placing) list() (names []string, err error) {
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), p.neighbours()) {
			names = append(names, entry.Name())
		}
	}
	if len(names) > 0 && !slices.Contains(names, dirVersion) {
		return nil, directory.ErrNotContainerImageDir
	}
	return names, nil
}

// copyVersion shows the library what it looks at before it empties a directory.
func (p *placing) copyVersion() error {
	version, err := os.ReadFile(filepath.Join(p.path, dirVersion))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.written, dirVersion), version, 0o644)
}

// putDirectory replaces the image that is there. What is called as its digest says doesn't disturb that; the manifest, which comes
// after it, makes one image the other. What somebody has put there meanwhile stays.
func (p *placing) putDirectory(ctx context.Context) error {
	unlock, err := p.renameOrLock(ctx)
	if unlock == nil {
		return err
	}
	defer unlock()
	if p.there == nil {
		if p.old, err = p.list(); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(p.temporary)
	if err != nil {
		return err
	}
	var made []string
	for _, entry := range entries {
		made = append(made, entry.Name())
	}
	slices.SortStableFunc(made, func(a, b string) int { return turn(a) - turn(b) })
	for _, name := range made {
		if err := p.moveFile(name); err != nil {
			return err
		}
	}
	for _, name := range p.old {
		if slices.Contains(made, name) {
			continue
		}
		if err := rootfs.RemoveAll(filepath.Join(p.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// turn says when a file takes its place: the version first, so that a directory whose writer is killed may be written once more, and
// the image's signatures after its manifest.
func turn(name string) int {
	switch {
	case name == dirVersion:
		return 0
	case name == dirManifest:
		return 2
	case strings.HasPrefix(name, dirSignatures):
		return 3
	}
	return 1
}

// moveFile has one file of the neighbour take its place.
func (p *placing) moveFile(name string) error {
	return os.Rename(filepath.Join(p.temporary, name), filepath.Join(p.path, name))
}

// renameOrLock renames the neighbour where nothing is, and then unlock is nil. Where something is, also since somebody else was
// quicker, it keeps other runs from adding to that, if the file system can.
func (p *placing) renameOrLock(ctx context.Context) (unlock func(), err error) {
	if p.there == nil {
		if err := renameNew(p.temporary, p.path); !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	dir, err := os.Open(p.path)
	if err != nil {
		return nil, err
	}
	unlock = func() { _ = dir.Close() }
	if journal.Acquire(ctx, dir) != nil && ctx.Err() != nil {
		unlock()
		return nil, context.Cause(ctx)
	}
	return unlock, nil
}
