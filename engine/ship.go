package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/common/pkg/retry"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/compress"
	"github.com/rlbuild/rlbuild/engine/layer"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// shipment is a commit to a place outside the store, in one pass: what is read of the container's files is hashed,
// compressed on all processors, hashed again and written or sent at once. The library's own way writes each layer into a
// temporary file first, and an archive's blobs into a temporary layout.
type shipment struct {
	run         *Builder
	plan        *blueprint
	changes     layer.Changes // of the container, its own layer
	outlet      outlet
	compression Compression
}

// outlet is where an image is written to: first its layers, then configuration and manifest.
type outlet interface {
	// reuse describes the layer if it is there already, or can be had without sending it.
	reuse(ctx context.Context, layer baseLayer) (there types.BlobInfo, ok bool, err error)
	// put writes a blob that nobody knows the digest of before its end.
	put(ctx context.Context, r io.Reader) (digest.Digest, int64, error)
	// finish writes the configuration and the manifest that names it, and with that the image is there.
	finish(ctx context.Context, config []byte, manifest []byte) error
	// Close releases it; what isn't finished is given up.
	Close() error
}

// ship commits the container to a place outside the store. It fails with a notDirect, before it has written anything,
// where only the library can make the image.
func (j *commitment) ship(ctx context.Context) (*Image, []byte, error) {
	c, dest := j.container, j.dest
	if dest.Transport().Name() == dockerArchive {
		return nil, nil, notDirect("a docker-archive has digests in front of what they are of")
	}
	changes, err := c.changes(j.Times)
	if err != nil {
		return nil, nil, err
	}
	// The library checks here that the destination isn't blocked, and completes the context for it.
	described := &description{target: dest}
	plan, err := c.describe(ctx, j.library, described)
	if errors.Is(err, errNoBlueprint) {
		return nil, nil, notDirect(err.Error())
	} else if err != nil {
		return nil, nil, err
	}
	// The buffers live as long as this does. Usually the collector lets as much garbage pile up as there is in use.
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	var image *Image
	var manifest []byte
	attempt := func() error {
		outlet, err := c.run.outlet(ctx, dest, described.system, plan, j.CommitOptions)
		if err != nil {
			return err
		}
		s := &shipment{run: c.run, plan: plan, changes: changes, outlet: outlet, compression: j.Compression}
		image, manifest, err = s.image(ctx)
		if closeErr := outlet.Close(); closeErr != nil {
			err = errors.Join(err, closeErr) // only then: whether to try again can't be seen through a join
		}
		return err
	}
	defer c.run.sayRetries("commit " + c.target(j.Name))()
	err = retry.IfNecessary(ctx, attempt, &retry.Options{MaxRetry: j.Access.retries(), Delay: j.Access.retryDelay(), IsErrorRetryable: func(err error) bool {
		return dest.Transport().Name() == reference.Registry && retry.IsErrorRetryable(err)
	}})
	var refused types.ManifestTypeRejectedError
	if errors.As(err, &refused) {
		return nil, nil, notDirect("the registry takes no manifest of this format")
	} else if err != nil {
		return nil, nil, err
	}
	image.Names = []string{j.Name}
	return image, manifest, nil
}

// image writes all there is of the image, and returns the image with its manifest.
func (s *shipment) image(ctx context.Context) (*Image, []byte, error) {
	var layers []v1.Descriptor
	for _, base := range s.plan.base {
		layer, err := s.baseLayer(ctx, base)
		if err != nil {
			return nil, nil, err
		}
		layers = append(layers, layer)
	}
	own, diffID, err := s.send(ctx, func(ctx context.Context, w io.Writer) (digest.Digest, error) {
		made, err := s.changes.WriteTar(ctx, w, layer.Options{})
		return made.DiffID, err
	})
	if err != nil {
		return nil, nil, err
	}
	config, manifest, err := s.plan.image(diffID, append(layers, own))
	if err != nil {
		return nil, nil, err
	}
	if err := s.outlet.finish(ctx, config, manifest); err != nil {
		return nil, nil, err
	}
	return &Image{ID: digest.FromBytes(config).Encoded(), Digest: digest.FromBytes(manifest).String()}, manifest, nil
}

// baseLayer writes a layer of the store, unless it is there.
func (s *shipment) baseLayer(ctx context.Context, base baseLayer) (v1.Descriptor, error) {
	there, ok, err := s.outlet.reuse(ctx, base)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if ok {
		mediaType, err := s.plan.mediaType(compressionName(there))
		return v1.Descriptor{MediaType: mediaType, Digest: there.Digest, Size: there.Size}, err
	}
	written, diffID, err := s.send(ctx, func(_ context.Context, w io.Writer) (digest.Digest, error) {
		sum := digest.Canonical.Digester()
		err := s.run.options.Store.WriteLayer(io.MultiWriter(w, sum.Hash()), base.ID)
		return sum.Digest(), err
	})
	if err == nil && diffID != base.DiffID {
		err = fmt.Errorf("the store's layer %.12s isn't what it was: its digest is %s, and was %s", base.ID, diffID, base.DiffID)
	}
	return written, err
}

// send compresses what write writes, and puts it there. The digest is that of the uncompressed stream, which write
// returns.
func (s *shipment) send(
	ctx context.Context, write func(context.Context, io.Writer) (digest.Digest, error),
) (v1.Descriptor, digest.Digest, error) {
	mediaType, err := s.plan.mediaType(s.compression.archive())
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	compressed, in := io.Pipe()
	// Neither the store, which reads a layer of the base, nor the library's destinations look at the context.
	defer context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })()
	var diffID digest.Digest
	made := make(chan error, 1)
	go func() {
		z, err := s.compressor(in)
		if err == nil {
			diffID, err = write(ctx, z)
			err = errors.Join(err, z.Close())
		}
		in.CloseWithError(err)
		made <- err
	}()
	sum, size, err := s.outlet.put(ctx, compressed)
	if err != nil {
		cancel()
	}
	compressed.CloseWithError(errStopped) // put may have given up before the end, and then has the reason
	if reason := <-made; reason != nil && err == nil {
		err = reason
	}
	return v1.Descriptor{MediaType: mediaType, Digest: sum, Size: size}, diffID, err
}

// compressor returns what compresses a layer, or leaves it as it is.
func (s *shipment) compressor(to io.WriteCloser) (io.WriteCloser, error) {
	if s.compression.Disable {
		return plainWriter{to}, nil
	}
	return compress.NewWriter(to, s.compression.format(), s.compression.Level)
}

// plainWriter is a compressor that does nothing, and leaves closing what it writes to to others.
type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }

// errStopped reaches those who make a layer that nobody takes any more.
var errStopped = errors.New("the layer's destination failed")

// outlet opens the destination, for an image of the plan's format.
func (b *Builder) outlet(
	ctx context.Context, dest types.ImageReference, system *types.SystemContext, plan *blueprint, o CommitOptions,
) (outlet, error) {
	if dest.Transport().Name() == ociArchive {
		return b.archiveOutlet(dest, o.Times.fixed())
	}
	to, err := dest.NewImageDestination(ctx, system)
	if err != nil {
		return nil, err
	}
	if formats := to.SupportedManifestMIMETypes(); formats != nil && !slices.Contains(formats, plan.manifestType) {
		return nil, errors.Join(notDirect("images of this format are converted on the way to "+dest.Transport().Name()), to.Close())
	}
	return newLibraryOutlet(to, system, o.Compression), nil
}
