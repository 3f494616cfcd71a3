package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// dirVersion is the file by which the library knows a directory of its dir: transport, the only kind that it empties.
const dirVersion = "version"

// directory prepares a directory with one image. One that is there gives its place in one step where the file system can
// swap the two. Where it can't, and for one that is a mount point or in a directory that can't be written to, the files are
// moved one by one when all are there.
func (p *placing) directory() error {
	info, err := os.Stat(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		p.put = func() error { return os.Rename(p.temporary, p.path) }
		return p.makeDir(filepath.Dir(p.path))
	} else if err != nil || !info.IsDir() {
		return err
	}
	entries, err := os.ReadDir(p.path)
	if err != nil {
		return err
	}
	version, err := os.ReadFile(filepath.Join(p.path, dirVersion))
	if len(entries) > 0 && err != nil {
		return nil // the library refuses it, whatever it is
	}
	p.mode, p.put = info.Mode().Perm(), p.moveIn
	made := fs.ErrPermission
	if mine(info) && !mountPoint(p.path) {
		if made = p.makeDir(filepath.Dir(p.path)); made == nil {
			p.put = p.swap
		}
	}
	if made != nil && cantMake(made) {
		made = p.makeDir(p.path)
	}
	if made != nil || len(entries) == 0 {
		return made
	}
	// The library looks at this before it empties the directory.
	return os.WriteFile(filepath.Join(p.temporary, dirVersion), version, 0o644)
}

// swap has the neighbour and the place change places.
func (p *placing) swap() error {
	if err := os.Chmod(p.temporary, p.mode); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, p.temporary, unix.AT_FDCWD, p.path, unix.RENAME_EXCHANGE)
	if err != nil { // not every file system can
		return p.moveIn()
	}
	return nil
}

// moveIn replaces all that is in the place by what is in the neighbour. Without its version, which comes last, it is no image.
func (p *placing) moveIn() error {
	old, err := os.ReadDir(p.path)
	if err != nil {
		return err
	}
	for _, entry := range old {
		if path := filepath.Join(p.path, entry.Name()); path != p.temporary {
			if err := rootfs.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	made, err := os.ReadDir(p.temporary)
	if err != nil {
		return err
	}
	for _, entry := range made {
		if entry.Name() != dirVersion {
			if err := p.moveFile(entry.Name()); err != nil {
				return err
			}
		}
	}
	return p.moveFile(dirVersion)
}

// moveFile has one file of the neighbour take its place.
func (p *placing) moveFile(name string) error {
	return os.Rename(filepath.Join(p.temporary, name), filepath.Join(p.path, name))
}

// manifestLimit is how large a manifest can be, bytes: readers refuse larger ones.
const manifestLimit = 4 << 20

// layout prepares a directory with many images, the OCI layout. What is in one that is there stays: the image's blobs are added
// to the others, and the index, which makes it an image, is replaced last, in one step. The library would write the index
// where it is, and so lose all images when there is no room for it.
func (p *placing) layout() error {
	info, err := os.Stat(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		p.put = func() error { return os.Rename(p.temporary, p.path) }
		return p.makeDir(filepath.Dir(p.path))
	} else if err != nil || !info.IsDir() {
		return err
	}
	p.put = p.mergeLayout
	if err := p.makeDir(p.path); err != nil {
		return err
	}
	for _, name := range []string{v1.ImageIndexFile, v1.ImageLayoutFile} {
		if err := p.copyFile(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return p.linkBlobs()
}

// copyFile copies a small file of the place to the neighbour, with its permissions.
func (p *placing) copyFile(name string) error {
	from := filepath.Join(p.path, name)
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	to := filepath.Join(p.temporary, name)
	if err := os.WriteFile(to, data, 0o600); err != nil {
		return err
	}
	return os.Chmod(to, info.Mode().Perm())
}

// linkBlobs shows the library the blobs that are there, so that it doesn't write them once more. Manifests it writes into the very
// file that is there, so no blob is shown that is small enough for one.
func (p *placing) linkBlobs() error {
	return p.eachBlob(p.path, func(name string, info fs.FileInfo) error {
		if info.Size() <= manifestLimit {
			return nil
		}
		link := filepath.Join(p.temporary, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		return os.Symlink(filepath.Join(p.path, name), link)
	})
}

// mergeLayout adds what is new to the layout.
func (p *placing) mergeLayout() error {
	err := p.eachBlob(p.temporary, func(name string, _ fs.FileInfo) error {
		if err := os.MkdirAll(filepath.Join(p.path, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		return p.moveFile(name)
	})
	if err != nil {
		return err
	}
	if err := p.moveFile(v1.ImageLayoutFile); err != nil {
		return err
	}
	return p.moveFile(v1.ImageIndexFile)
}

// eachBlob calls do for the regular files among a layout's blobs, with their names in the layout: "blobs/sha256/0a…".
func (p *placing) eachBlob(layout string, do func(name string, info fs.FileInfo) error) error {
	algorithms, err := os.ReadDir(filepath.Join(layout, v1.ImageBlobsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, algorithm := range algorithms {
		dir := filepath.Join(v1.ImageBlobsDir, algorithm.Name())
		blobs, err := os.ReadDir(filepath.Join(layout, dir))
		if errors.Is(err, unix.ENOTDIR) {
			continue
		} else if err != nil {
			return err
		}
		for _, blob := range blobs {
			info, err := blob.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // somebody cleans up
			} else if err != nil {
				return err
			}
			if info.Mode().IsRegular() {
				if err := do(filepath.Join(dir, blob.Name()), info); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
