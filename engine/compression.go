package engine

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	algorithms "go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/archive"

	"github.com/rlbuild/rlbuild/engine/compress"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// Compression says how the layers of an image that leaves the store are compressed.
type Compression struct {
	Format  string // "gzip", "zstd" or "zstd:chunked"; "" is gzip, or what the destination has of a layer
	Level   int    // 1 to 9 for gzip, 1 to 22 for zstd; 0 is the format's own default
	Force   *bool  // whether layers that the destination has in another format are sent again; nil means if Format is given
	Disable bool   // layers stay as they are in the store, which has them plain
}

// chunked is zstd with an index of the files, by which a layer can be fetched in parts.
const chunked = "zstd:chunked"

// levels are the highest ones.
var levels = map[string]int{compress.Gzip: 9, compress.Zstd: 22, chunked: 22}

// check refuses what doesn't exist, and what the format of the image's manifest ("oci", "docker", "" for any) and the
// transport of its destination can't have.
func (c Compression) check(manifestFormat, transport string) error {
	if c == (Compression{}) {
		return nil
	}
	format := c.format()
	highest, known := levels[format]
	quoted := fmt.Sprintf("%q", format)
	switch {
	case !known:
		return failure.New("compression format", quoted, `is none of "gzip", "zstd" and "zstd:chunked"`)
	case c.Level < 0 || c.Level > highest:
		return failure.New("compression level", fmt.Sprint(c.Level), "%s has the levels 1 to %d", format, highest)
	case c.Disable && (c.Format != "" || c.Level != 0 || c.Force != nil):
		return failure.New("", "disable_compression", "can't be had together with a compression").
			WithHint("leave out one of them.")
	case c.Disable:
		return nil
	case c.Force != nil && *c.Force && c.Format == "":
		return failure.New("", "force_compression", "says to insist on a compression format, and none is named").
			WithHint(`name it: compression_format = "gzip"`)
	case transport == reference.Storage:
		return failure.New("compression format", quoted, "an image in the store has no compressed layers").
			WithHint("leave it out here; it counts when the image is pushed.")
	case plainOnly(transport):
		return failure.New("compression format", quoted, "the layers of a %s aren't compressed", transport).
			WithHint("leave it out, or write an oci-archive.")
	case format != compress.Gzip && manifestFormat != "" && manifestFormat != "oci":
		return failure.New("compression format", quoted, "an image in docker's format can't have it").
			WithHint(`use format = "oci" with it.`)
	}
	return nil
}

// dockerArchive is the transport of files for `docker load`.
const dockerArchive = "docker-archive"

// plainOnly reports whether the transport wants layers as they are.
func plainOnly(transport string) bool {
	return transport == dockerArchive || transport == "docker-daemon"
}

// wantsCompressed reports whether the library compresses layers for the transport, unless it is told not to.
func wantsCompressed(transport string) bool {
	return slices.Contains([]string{reference.Registry, ociLayout, ociArchive}, transport)
}

// plainFormat reports whether the format is one that rlbuild's own compressors and shortcuts know.
func (c Compression) plainFormat() bool { return c.format() != chunked }

func (c Compression) format() string {
	if c.Format == "" {
		return compress.Gzip
	}
	return c.Format
}

// forced is the algorithm that all layers must have, or nil. As with buildah's flag, layers that the destination has in
// another compression than the one that was asked for don't do, unless they are said to.
func (c Compression) forced() *algorithms.Algorithm {
	if c.Format == "" || c.Force != nil && !*c.Force {
		return nil
	}
	return c.algorithm()
}

// chosen is the algorithm that was asked for, if only by giving a level of gzip, or nil.
func (c Compression) chosen() *algorithms.Algorithm {
	if c.Format == "" && c.Level == 0 {
		return nil
	}
	return c.algorithm()
}

func (c Compression) algorithm() *algorithms.Algorithm {
	switch c.format() {
	case compress.Zstd:
		return &algorithms.Zstd
	case chunked:
		return &algorithms.ZstdChunked
	}
	return &algorithms.Gzip
}

func (c Compression) level() *int {
	if c.Level == 0 {
		return nil
	}
	return &c.Level
}

// archive is the format as the storage library calls it.
func (c Compression) archive() archive.Compression {
	switch {
	case c.Disable:
		return archive.Uncompressed
	case c.format() == compress.Gzip:
		return archive.Gzip
	}
	return archive.Zstd
}

// compressionName is how a layer that was found at a destination is compressed.
func compressionName(found types.BlobInfo) archive.Compression {
	switch {
	case found.CompressionAlgorithm == nil:
		return archive.Uncompressed // it was found by its uncompressed digest
	case found.CompressionAlgorithm.BaseVariantName() == compress.Zstd:
		return archive.Zstd
	}
	return archive.Gzip
}

// compressionOf returns how layers of the media type are compressed, as the library describes it; ok is false for a type
// that is unknown here.
func compressionOf(mediaType string) (operation types.LayerCompression, algorithm *algorithms.Algorithm, ok bool) {
	is := func(known ...string) bool { return slices.Contains(known, mediaType) }
	switch {
	case is(v1.MediaTypeImageLayerGzip, manifest.DockerV2Schema2LayerMediaType):
		return types.Compress, &algorithms.Gzip, true
	case is(v1.MediaTypeImageLayerZstd):
		return types.Compress, &algorithms.Zstd, true
	case is(v1.MediaTypeImageLayer, manifest.DockerV2SchemaLayerMediaTypeUncompressed):
		return types.Decompress, nil, true
	}
	return types.PreserveOriginal, nil, false
}

// uncompressed is a place that takes layers as they are. The library's own way to say so is for layouts only.
type uncompressed struct{ types.ImageReference }

func (u *uncompressed) NewImageDestination(ctx context.Context, system *types.SystemContext) (types.ImageDestination, error) {
	inner, err := u.ImageReference.NewImageDestination(ctx, system)
	if err != nil {
		return nil, err
	}
	return &uncompressedDestination{inner}, nil
}

type uncompressedDestination struct{ types.ImageDestination }

func (d *uncompressedDestination) DesiredLayerCompression() types.LayerCompression {
	return types.PreserveOriginal
}

// TryReusingBlob takes no layer that is compressed, whatever the destination has.
func (d *uncompressedDestination) TryReusingBlob(
	ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache, _ bool,
) (bool, types.BlobInfo, error) {
	return d.ImageDestination.TryReusingBlob(ctx, info, cache, false)
}
