package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	algorithms "go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
)

// thrifty is a registry's destination that sends no layer which is there already.
//
// A registry names layers by the digest of their compressed form, the store by that of the plain one, and which belong
// together the library keeps in a cache of this user on this machine. Where that doesn't know, as on a build machine that
// is new every time, thrifty asks the registry for the image that the name stands for now. If that has the very
// configuration that is about to be written, its layers are, in the same order, those of the configuration's diff IDs.
//
// That is the registry's word, so it is used for this one push and put into no cache, and a layer counts only if the
// registry says that it holds it. Whoever reads the image compares its layers with the diff IDs of its configuration,
// which is ours: a registry that lied has an image that can't be pulled, and nobody gets other files for it.
type thrifty struct {
	types.ImageReference
	config digest.Digest   // of the image about to be written
	diffs  []digest.Digest // its layers, uncompressed
	format *algorithms.Algorithm
}

// thrifty returns the destination for a push of the image. Format, unless nil, is the only one that reused layers may
// have: the library's own way to say so would never ask a destination that isn't its own.
func (b *Builder) thrifty(image *Image, ref types.ImageReference, format *algorithms.Algorithm) (*thrifty, error) {
	data, err := b.options.Store.ImageBigData(image.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return nil, err
	}
	m, err := manifest.FromBlob(data, manifest.GuessMIMEType(data))
	if err != nil {
		return nil, err
	}
	t := &thrifty{ImageReference: ref, config: m.ConfigInfo().Digest, format: format}
	if data, err = b.options.Store.ImageBigData(image.ID, t.config.String()); err != nil {
		return nil, err
	}
	var config v1.Image
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("reading the configuration of %s: %w", image.label(), err)
	}
	t.diffs = config.RootFS.DiffIDs
	return t, nil
}

func (t *thrifty) NewImageDestination(ctx context.Context, system *types.SystemContext) (types.ImageDestination, error) {
	inner, err := t.ImageReference.NewImageDestination(ctx, system)
	if err != nil {
		return nil, err
	}
	return &thriftyDestination{
		ImageDestination: inner,
		format:           t.format,
		known:            sync.OnceValue(func() map[digest.Digest]types.BlobInfo { return t.ask(ctx, system) }),
	}, nil
}

// ask returns the layers that the registry says it has of this image, by their uncompressed digests. Whatever goes wrong
// here is no reason to fail: then nothing is known.
func (t *thrifty) ask(ctx context.Context, system *types.SystemContext) map[digest.Digest]types.BlobInfo {
	source, err := t.ImageReference.NewImageSource(ctx, system)
	if err != nil {
		return nil
	}
	defer source.Close()
	data, mediaType, err := source.GetManifest(ctx, nil)
	if err != nil || manifest.MIMETypeIsMultiImage(mediaType) {
		return nil
	}
	there, err := manifest.FromBlob(data, mediaType)
	if err != nil || there.ConfigInfo().Digest != t.config {
		return nil
	}
	layers := there.LayerInfos()
	if len(layers) != len(t.diffs) {
		return nil
	}
	known := map[digest.Digest]types.BlobInfo{}
	for i, layer := range layers {
		info := types.BlobInfo{Digest: layer.Digest, Size: layer.Size}
		var ok bool
		if info.CompressionOperation, info.CompressionAlgorithm, ok = compressionOf(layer.MediaType); ok {
			known[t.diffs[i]] = info
		}
	}
	return known
}

type thriftyDestination struct {
	types.ImageDestination
	format *algorithms.Algorithm
	known  func() map[digest.Digest]types.BlobInfo
}

// TryReusingBlob looks for a layer by the library's means first: by its digest, and by those that the cache has for it.
func (d *thriftyDestination) TryReusingBlob(
	ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache, substitute bool,
) (bool, types.BlobInfo, error) {
	found, blob, err := d.ImageDestination.TryReusingBlob(ctx, info, cache, substitute)
	if err != nil || found && d.fits(blob) || !substitute {
		return found && d.fits(blob), blob, err
	}
	known, ok := d.known()[info.Digest]
	if !ok || !d.fits(known) {
		return false, types.BlobInfo{}, nil
	}
	found, blob, err = d.ImageDestination.TryReusingBlob(ctx, types.BlobInfo{Digest: known.Digest, Size: known.Size}, cache, false)
	if !found || err != nil {
		return false, types.BlobInfo{}, err
	}
	blob.CompressionOperation, blob.CompressionAlgorithm = known.CompressionOperation, known.CompressionAlgorithm
	return true, blob, nil
}

// fits reports whether the layer has the compression that was asked for.
func (d *thriftyDestination) fits(blob types.BlobInfo) bool {
	return d.format == nil || blob.CompressionAlgorithm != nil && blob.CompressionAlgorithm.Name() == d.format.Name()
}
