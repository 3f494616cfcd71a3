package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/buildah"
	"go.podman.io/common/pkg/retry"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"

	"github.com/rlbuild/rlbuild/engine/compress"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// shipment is a commit to a place outside the store, in one pass: what is read of the container's files is hashed,
// compressed on all processors, hashed again and written or sent at once. The library's own way writes each layer into a
// temporary file first, and an archive's blobs into a temporary layout.
type shipment struct {
	run         *Builder
	plan        *blueprint
	own         func(context.Context, io.Writer) error // writes the layer of the container's own changes
	place       place
	compression Compression
}

// place is where an image is written to: first its layers, then configuration and manifest.
type place interface {
	// reuse describes the layer if it is there already, or can be had without sending it.
	reuse(ctx context.Context, layer baseLayer) (there types.BlobInfo, ok bool, err error)
	// put writes a blob that nobody knows the digest of before its end.
	put(ctx context.Context, r io.Reader) (digest.Digest, int64, error)
	// finish writes the configuration and the manifest that names it, and with that the image is there.
	finish(ctx context.Context, config []byte, manifest []byte) error
	// Close releases the place; what isn't finished is given up.
	Close() error
}

// errLibrary says that the library has to do a commit, being able to do what a shipment can't.
var errLibrary = errors.New("left to the library")

// ship commits the container to a place outside the store. It fails with errLibrary before it has written anything if this
// way can't do what is asked.
func (c *Container) ship(ctx context.Context, dest types.ImageReference, o CommitOptions, options buildah.CommitOptions) (*Image, error) {
	if o.Squash || dest.Transport().Name() == dockerArchive {
		return nil, errLibrary // a single layer needs all files, and a docker-archive wants digests in advance
	}
	// The library checks here that the destination isn't blocked, and completes the context for it.
	described := &description{target: dest}
	plan, err := c.describe(ctx, options, described)
	if errors.Is(err, errNoBlueprint) {
		return nil, errLibrary
	} else if err != nil {
		return nil, err
	}
	var image *Image
	attempt := func() error {
		place, err := c.run.place(ctx, dest, described.system, plan, o.Compression)
		if err != nil {
			return err
		}
		s := &shipment{run: c.run, plan: plan, own: c.writeLayer, place: place, compression: o.Compression}
		image, err = s.image(ctx)
		return errors.Join(err, place.Close())
	}
	err = retry.IfNecessary(ctx, attempt, &retry.Options{MaxRetry: retries, Delay: retryDelay, IsErrorRetryable: func(err error) bool {
		return dest.Transport().Name() == reference.Registry && retry.IsErrorRetryable(err)
	}})
	var refused types.ManifestTypeRejectedError
	if errors.As(err, &refused) {
		return nil, errLibrary // a registry that knows another format only
	} else if err != nil {
		return nil, err
	}
	image.Names = []string{o.Name}
	return image, nil
}

// image writes all there is of the image.
func (s *shipment) image(ctx context.Context) (*Image, error) {
	var layers []v1.Descriptor
	for _, base := range s.plan.base {
		layer, err := s.baseLayer(ctx, base)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	own, diffID, err := s.layer(ctx, s.own)
	if err != nil {
		return nil, err
	}
	config, manifest, err := s.plan.image(diffID, append(layers, own))
	if err != nil {
		return nil, err
	}
	if err := s.place.finish(ctx, config, manifest); err != nil {
		return nil, err
	}
	return &Image{ID: digest.FromBytes(config).Encoded(), Digest: digest.FromBytes(manifest).String()}, nil
}

// baseLayer writes a layer of the store, unless the place has it.
func (s *shipment) baseLayer(ctx context.Context, base baseLayer) (v1.Descriptor, error) {
	there, ok, err := s.place.reuse(ctx, base)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if ok {
		mediaType, err := s.plan.mediaType(compressionName(there))
		return v1.Descriptor{MediaType: mediaType, Digest: there.Digest, Size: there.Size}, err
	}
	layer, diffID, err := s.layer(ctx, func(_ context.Context, w io.Writer) error {
		return s.run.writeStored(w, base.ID)
	})
	if err == nil && diffID != base.DiffID {
		err = fmt.Errorf("the store's layer %.12s isn't what it was: its digest is %s, and was %s", base.ID, diffID, base.DiffID)
	}
	return layer, err
}

// layer compresses what write writes, and puts it in its place. The digest is that of the uncompressed stream.
func (s *shipment) layer(ctx context.Context, write func(context.Context, io.Writer) error) (v1.Descriptor, digest.Digest, error) {
	mediaType, err := s.plan.mediaType(s.compression.archive())
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	compressed, in := io.Pipe()
	plain := digest.Canonical.Digester()
	made := make(chan error, 1)
	go func() {
		z, err := compress.NewWriter(in, s.compression.format(), s.compression.Level)
		if err == nil {
			err = write(ctx, io.MultiWriter(z, plain.Hash()))
			err = errors.Join(err, z.Close())
		}
		in.CloseWithError(err)
		made <- err
	}()
	sum, size, err := s.place.put(ctx, compressed)
	cancel()
	compressed.CloseWithError(errStopped) // if put gave up early, it has the reason
	if reason := <-made; reason != nil && !errors.Is(reason, errStopped) {
		err = reason
	}
	return v1.Descriptor{MediaType: mediaType, Digest: sum, Size: size}, plain.Digest(), err
}

// errStopped reaches those who make a layer that nobody takes any more.
var errStopped = errors.New("the layer's destination failed")

// writeLayer writes the layer of the container's own changes.
func (c *Container) writeLayer(_ context.Context, w io.Writer) error {
	container, err := c.run.options.Store.Container(c.id)
	if err != nil {
		return err
	}
	return c.run.writeStored(w, container.LayerID)
}

// writeStored writes a layer of the store, uncompressed.
func (b *Builder) writeStored(w io.Writer, id string) error {
	plain := archive.Uncompressed
	r, err := b.options.Store.Diff("", id, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(w, r, make([]byte, 1<<20))
	return errors.Join(err, r.Close())
}

// place opens the destination, for an image of the plan's format.
func (b *Builder) place(
	ctx context.Context, dest types.ImageReference, system *types.SystemContext, plan *blueprint, c Compression,
) (place, error) {
	if dest.Transport().Name() == "oci-archive" {
		return b.archivePlace(dest)
	}
	to, err := dest.NewImageDestination(ctx, system)
	if err != nil {
		return nil, err
	}
	if formats := to.SupportedManifestMIMETypes(); formats != nil && !slices.Contains(formats, plan.manifestType) {
		return nil, errors.Join(errLibrary, to.Close()) // it converts
	}
	return newLibraryPlace(to, system, c), nil
}
