package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// manifestLimit is how large a manifest can be, bytes: readers refuse larger ones.
const manifestLimit = 4 << 20

// layout prepares a directory with many images, the OCI layout. What is in one that is there stays: the image's blobs are added
// to the others, and the index, which makes it an image, is replaced last, in one step. The library would write the index
// where it is, and so lose all images when there is no room for it.
func (p *placing) layout() error {
	info, err := os.Stat(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		p.beside, p.put = filepath.Dir(p.path), p.putLayout
		return nil
	}
	if err != nil || !info.IsDir() {
		return err
	}
	p.there, p.beside, p.put = info, p.path, p.putLayout
	_, _, err = readIndex(p.path)
	return err // the library says it as well
}

// linkBlobs shows the library the blobs that are there, so that it doesn't write them once more. Manifests it writes into the very
// file that is there, so no blob is shown that is small enough for one.
func (p *placing) linkBlobs() error {
	return eachBlob(p.path, func(name string, info fs.FileInfo) error {
		if info.Size() <= manifestLimit {
			return nil
		}
		link := filepath.Join(p.written, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return err
		}
		return os.Symlink(filepath.Join(p.path, name), link)
	})
}

// putLayout adds the image to the layout, whose index is read only now: others may have added to it meanwhile.
func (p *placing) putLayout(ctx context.Context) error {
	unlock, err := p.renameOrLock(ctx)
	if unlock == nil {
		return err
	}
	defer unlock()
	err = eachBlob(p.temporary, func(name string, _ fs.FileInfo) error {
		if err := os.MkdirAll(filepath.Join(p.path, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		return p.moveFile(name)
	})
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(p.path, v1.ImageLayoutFile)); errors.Is(err, fs.ErrNotExist) {
		err = p.moveFile(v1.ImageLayoutFile)
		if err != nil {
			return err
		}
	}
	if err := p.mergeIndex(); err != nil {
		return err
	}
	return p.moveFile(v1.ImageIndexFile)
}

// mergeIndex makes the neighbour's index, which has the new image, the place's with that image added.
func (p *placing) mergeIndex() error {
	index, info, err := readIndex(p.path)
	if err != nil || info == nil {
		return err
	}
	added, _, err := readIndex(p.temporary)
	if err != nil {
		return err
	}
	for _, image := range added.Manifests {
		addImage(&index, image)
	}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	path := filepath.Join(p.temporary, v1.ImageIndexFile)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	return errors.Join(os.Chmod(path, info.Mode().Perm()), syncFile(path))
}

// addImage adds an image as the library does: it takes its name from the one that had it, and is there once without a name.
func addImage(index *v1.Index, image v1.Descriptor) {
	name := image.Annotations[v1.AnnotationRefName]
	for _, other := range index.Manifests {
		if name != "" && other.Annotations[v1.AnnotationRefName] == name {
			delete(other.Annotations, v1.AnnotationRefName)
			break
		}
	}
	same := slices.IndexFunc(index.Manifests, func(other v1.Descriptor) bool {
		return other.Digest == image.Digest && other.Annotations[v1.AnnotationRefName] == ""
	})
	if same >= 0 {
		index.Manifests[same] = image
	} else {
		index.Manifests = append(index.Manifests, image)
	}
}

// readIndex reads a layout's index. The file's description is nil if there is none.
func readIndex(layout string) (index v1.Index, info fs.FileInfo, err error) {
	path := filepath.Join(layout, v1.ImageIndexFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil, nil
	} else if err != nil {
		return index, nil, err
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return index, nil, fmt.Errorf("reading %s: %w", path, err)
	}
	info, err = os.Stat(path)
	return index, info, err
}

// eachBlob calls do for the regular files among a layout's blobs, with their names in the layout: "blobs/sha256/0a…".
func eachBlob(layout string, do func(name string, info fs.FileInfo) error) error {
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
