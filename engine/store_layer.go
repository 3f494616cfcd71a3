package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/layer"
)

// storedLayer is a container's changes as a layer of the store.
type storedLayer struct {
	id     string
	diffID digest.Digest
	size   int64 // of the uncompressed stream, bytes
}

// storeLayer makes a layer of the container's changes, or finds that the store has it. If the container is given up, its
// files become the layer's; otherwise they are copied while they are hashed.
func (c *Container) storeLayer(ctx context.Context, changes layer.Changes, parent string, giveUp bool) (made storedLayer, err error) {
	store := c.run.options.Store
	staged := &staging{ctx: ctx, changes: changes, giveUp: giveUp}
	output, clean, err := c.stage(staged)
	defer func() { err = errors.Join(err, clean()) }() // also after the layer has its place: the directory around it remains
	if err != nil {
		return storedLayer{}, err
	}
	made = storedLayer{id: layerID(parent, output.UncompressedDigest), diffID: output.UncompressedDigest, size: output.Size}
	unlock, err := c.run.lockLayers(ctx)
	if err != nil {
		return storedLayer{}, err
	}
	defer unlock()
	if _, err := store.Layer(made.id); err == nil {
		return made, nil
	} else if !errors.Is(err, storage.ErrLayerUnknown) {
		return storedLayer{}, err
	}
	restore := func() error { return nil }
	if staged.toMove {
		if err := c.detach(); err != nil {
			return storedLayer{}, err
		}
		if restore, err = changes.Move(output.Target, staged.summary); err != nil {
			return storedLayer{}, errors.Join(fmt.Errorf("moving the container's files into the layer: %w", err), restore())
		}
	}
	_, err = store.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: made.id, ParentLayer: parent, DiffOutput: output, DiffOptions: &graphdriver.ApplyDiffWithDifferOpts{},
	})
	if err != nil && !errors.Is(err, storage.ErrDuplicateID) {
		return storedLayer{}, errors.Join(fmt.Errorf("storing the layer: %w", err), restore())
	}
	return made, nil
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
func (b *Builder) lockLayers(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(b.options.Store.RunRoot(), "rlbuild-layers.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for pause := time.Millisecond; ; pause = min(2*pause, lockPause) {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if err != unix.EINTR && err != unix.EWOULDBLOCK {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", file.Name(), err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), file.Close())
		case <-time.After(pause):
		}
	}
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
	giveUp  bool // the changes may be moved

	toMove  bool // and they are still where they were
	summary layer.Summary
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
	if s.giveUp {
		s.summary, err = s.changes.WriteTar(s.ctx, nil, layer.Options{TarSplit: split})
		s.toMove = err == nil && !s.summary.Reserved && s.changes.Stamp == nil
	}
	if err == nil && !s.toMove { // a copy is also for files that the layer shows as deletions, or at other times
		if _, err = split.Seek(0, io.SeekStart); err == nil {
			s.summary, err = s.changes.WriteTar(s.ctx, nil, layer.Options{CopyTo: dest, TarSplit: split})
		}
	}
	if err != nil {
		return output, err
	}
	output.UncompressedDigest, output.Size = s.summary.DiffID, s.summary.Size
	output.UIDs, output.GIDs = s.summary.UIDs, s.summary.GIDs
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
