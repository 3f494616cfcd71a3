package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"

	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/layer"
	"github.com/rlbuild/rlbuild/engine/store"
)

// storedLayer is a container's changes as a layer of the store.
type storedLayer struct {
	id     string
	diffID digest.Digest
	size   int64 // of the uncompressed stream, bytes

	made   bool   // just now; the store didn't have it
	unlock func() // lets other runs store layers again, once an image needs this one
}

// storeLayer makes a layer of the container's changes, or finds that the store has it. If the container is given up, the
// layer's files are links to its own; otherwise they are copied while they are hashed. Whatever fails, the container keeps
// its files. The caller calls unlock.
func (c *Container) storeLayer(ctx context.Context, changes layer.Changes, parent string, giveUp bool) (made *storedLayer, err error) {
	store := c.run.options.Store
	if giveUp {
		if err := c.detach(); err != nil { // nobody may write to files that are the layer's as well
			return nil, err
		}
	}
	staged := &staging{ctx: ctx, changes: changes, link: giveUp && changes.Stamp == nil}
	output, clean, err := c.stage(staged)
	defer func() {
		left := clean() // also after the layer has its place: the directory around it remains
		if err != nil {
			err = errors.Join(err, left)
		} else if left != nil { // the layer is whole, and the rest goes with the container
			c.run.options.Info(fmt.Sprintf("cleaning up after storing a layer: %v", left))
		}
		if err != nil && made != nil && made.unlock != nil {
			made.unlock()
		}
	}()
	if err != nil {
		return nil, err
	}
	made = &storedLayer{id: layerID(parent, output.UncompressedDigest), diffID: output.UncompressedDigest, size: output.Size}
	if made.unlock, err = lockLayers(ctx, store); err != nil {
		return made, err
	}
	if there, err := c.run.useLayer(made.id); there || err != nil {
		return made, err
	}
	_, err = store.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: made.id, ParentLayer: parent, DiffOutput: output, DiffOptions: &graphdriver.ApplyDiffWithDifferOpts{},
	})
	if errors.Is(err, storage.ErrDuplicateID) { // another program was quicker, with the same
		return made, nil
	} else if err != nil {
		return made, fmt.Errorf("storing the layer: %w", err)
	}
	made.made = true
	return made, nil
}

// useLayer tells whether the store has a layer, and keeps others from deleting it for what a dead run has left.
func (b *Builder) useLayer(id string) (there bool, err error) {
	for range 2 { // once more after the note: before, somebody may have deleted it
		if _, err := b.options.Store.Layer(id); errors.Is(err, storage.ErrLayerUnknown) {
			return false, nil
		} else if err != nil || there {
			return there, err
		}
		if err := b.options.Journal.Use(journal.Used, id); err != nil {
			return false, err
		}
		there = true
	}
	return there, nil
}

// dropLayer deletes a layer that was made for an image that didn't come about, unless something uses it.
func (b *Builder) dropLayer(made *storedLayer) error {
	if !made.made {
		return nil
	}
	err := b.options.Store.DeleteLayer(made.id)
	for _, used := range []error{storage.ErrLayerUsedByImage, storage.ErrLayerHasChildren, storage.ErrLayerUsedByContainer, storage.ErrLayerUnknown} {
		if errors.Is(err, used) {
			return nil
		}
	}
	return err
}

// layerID is what the library calls a layer with this content on that parent (storage_dest.go of image).
func layerID(parent string, diffID digest.Digest) string {
	if parent == "" {
		return diffID.Encoded()
	}
	return digest.FromString(parent + "+" + diffID.Encoded()).Encoded()
}

// lockLayers keeps other runs from storing layers. ApplyStagedLayer replaces a layer that came into being since one looked,
// under whoever has mounted it; two runs of one script make the same layers at the same time.
func lockLayers(ctx context.Context, s *store.Store) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(s.RunRoot(), "rlbuild-layers.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := journal.Acquire(ctx, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// detach unmounts the container for good.
func (c *Container) detach() error {
	if err := c.closeFiles(); err != nil {
		return err
	}
	if _, err := c.run.options.Store.Unmount(c.id, true); err != nil && !errors.Is(err, storage.ErrLayerNotMounted) {
		return fmt.Errorf("unmounting %s: %w", c.name, err)
	}
	return nil
}

// staging makes the layer's files in a directory of the store's, for storage to take over.
type staging struct {
	ctx     context.Context
	changes layer.Changes
	link    bool // files are linked, not copied
}

var _ graphdriver.Differ = (*staging)(nil)

// ApplyDiff is called once, with an empty directory.
func (s *staging) ApplyDiff(dest string, _ *archive.TarOptions, o *graphdriver.DifferOptions) (output graphdriver.DriverWithDifferOutput, err error) {
	if err := s.makeRoot(dest); err != nil {
		return output, err
	}
	split, err := os.Create(filepath.Join(o.StagingDirectory, "tar-split"))
	if err != nil {
		return output, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, split.Close())
		}
	}()
	summary, err := s.changes.WriteTar(s.ctx, nil, layer.Options{CopyTo: dest, Link: s.link, TarSplit: split})
	if err != nil {
		return output, &fs.PathError{Op: "making", Path: dest, Err: err} // what was made is gone when somebody asks where
	}
	output.UncompressedDigest, output.Size = summary.DiffID, summary.Size
	output.UIDs, output.GIDs = summary.UIDs, summary.GIDs
	output.TarSplit = split
	return output, nil
}

// makeRoot gives the layer's top directory owner and mode. Layers of commits have no entry for it, so they are those of the
// layer below, as with the library.
func (s *staging) makeRoot(dest string) error {
	if len(s.changes.Lower) == 0 {
		return os.Chmod(dest, 0o555)
	}
	info, err := os.Stat(s.changes.Lower[0])
	if err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(dest, int(stat.Uid), int(stat.Gid)); err != nil {
		return err
	}
	return os.Chmod(dest, info.Mode())
}

// Close is part of graphdriver.Differ. There is nothing to close.
func (s *staging) Close() error { return nil }
