package engine

import (
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
	Format string // "gzip" or "zstd"; "" is gzip, or what the destination has of a layer
	Level  int    // 1 to 9 for gzip, 1 to 22 for zstd; 0 is the format's own default
}

// levels are the highest ones.
var levels = map[string]int{compress.Gzip: 9, compress.Zstd: 22}

// check refuses what doesn't exist, and what the format of the image's manifest ("oci", "docker", "" for any) and the
// transport of its destination can't have.
func (c Compression) check(manifestFormat, transport string) error {
	if c == (Compression{}) {
		return nil
	}
	format := c.format()
	highest, known := levels[format]
	switch {
	case !known:
		return failure.New("compression format", fmt.Sprintf("%q", c.Format), `is neither "gzip" nor "zstd"`)
	case c.Level < 0 || c.Level > highest:
		return failure.New("compression level", fmt.Sprint(c.Level), "%s has the levels 1 to %d", format, highest)
	case transport == reference.Storage:
		return failure.New("compression format", fmt.Sprintf("%q", format), "an image in the store has no compressed layers").
			WithHint("leave it out here; it counts when the image is pushed.")
	case transport == dockerArchive:
		return failure.New("compression format", fmt.Sprintf("%q", format), "the layers of a docker-archive aren't compressed").
			WithHint("leave it out, or write an oci-archive.")
	case format == compress.Zstd && manifestFormat == "docker":
		return failure.New("compression format", `"zstd"`, "an image in docker's format can't have it").
			WithHint(`use format = "oci" with it.`)
	}
	return nil
}

// dockerArchive is the transport that wants layers as they are.
const dockerArchive = "docker-archive"

func (c Compression) format() string {
	if c.Format == "" {
		return compress.Gzip
	}
	return c.Format
}

// forced is the algorithm that was asked for, or nil. As with buildah's flag, layers that the destination has in another
// compression don't do then.
func (c Compression) forced() *algorithms.Algorithm {
	if c.Format == "" {
		return nil
	}
	return c.algorithm()
}

// chosen is the algorithm that was asked for, if only by giving a level of gzip, or nil.
func (c Compression) chosen() *algorithms.Algorithm {
	if c == (Compression{}) {
		return nil
	}
	return c.algorithm()
}

func (c Compression) algorithm() *algorithms.Algorithm {
	if c.format() == compress.Zstd {
		return &algorithms.Zstd
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
	if c.format() == compress.Zstd {
		return archive.Zstd
	}
	return archive.Gzip
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
