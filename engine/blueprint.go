package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/docker"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/archive"
)

// blueprint is an image as the library would write it, configuration and manifest, but for the layer of the container's own
// changes: whoever makes that layer enters it. So all that the library decides about an image (history, annotations, times)
// stays its decision, and the layer's files needn't pass through its temporary files.
type blueprint struct {
	config, manifest []byte
	manifestType     string      // define.OCIv1ImageManifest or define.Dockerv2ImageManifest
	base             []baseLayer // of the image below the container, bottom first
	after            int         // how many entries of the history follow the one of the container's own layer
}

// baseLayer is a layer of the store that an image shares with its base.
type baseLayer struct {
	ID     string        // in the store
	DiffID digest.Digest // of the uncompressed tar stream
	Size   int64         // of that stream, in bytes
}

// errNoBlueprint says that the library would have to read a base layer to describe it.
var errNoBlueprint = errors.New("a layer of the base image has no recorded digest")

// blueprint lets the library describe the image that a commit with these options makes. It fails with errNoBlueprint for
// base layers whose digests nobody recorded; squashing has no blueprint.
func (c *Container) blueprint(ctx context.Context, o buildah.CommitOptions) (*blueprint, error) {
	return c.describe(ctx, o, &description{})
}

// describe is blueprint with a description of the caller's.
func (c *Container) describe(ctx context.Context, o buildah.CommitOptions, described *description) (*blueprint, error) {
	base, err := c.baseLayers()
	if err != nil {
		return nil, err
	}
	o.EmptyLayer = true
	o.Compression = archive.Uncompressed
	o.CompressionFormat, o.CompressionLevel, o.ForceCompressionFormat = nil, nil, false
	o.IIDFile, o.Manifest, o.AdditionalTags = "", "", nil
	// The library would remember that it has seen these blobs, and wait for the disk four times. Where it can't make a
	// directory it remembers in memory.
	system := types.SystemContext{}
	if o.SystemContext != nil {
		system = *o.SystemContext
	}
	system.BlobInfoCacheDir = filepath.Join(os.DevNull, "cache")
	o.SystemContext = &system
	p := &blueprint{base: base, after: len(c.builder.AppendedEmptyLayers)}
	results, err := c.builder.CommitResults(ctx, described, o)
	if err != nil {
		return nil, err
	}
	p.config, p.manifest, p.manifestType = described.config, results.ImageManifest, results.MediaType
	return p, nil
}

// baseLayers returns the layers below the container's own, bottom first.
func (c *Container) baseLayers() ([]baseLayer, error) {
	store := c.run.options.Store
	container, err := store.Container(c.id)
	if err != nil {
		return nil, err
	}
	own, err := store.Layer(container.LayerID)
	if err != nil {
		return nil, err
	}
	var layers []baseLayer
	for id := own.Parent; id != ""; {
		layer, err := store.Layer(id)
		if err != nil {
			return nil, err
		}
		if layer.UncompressedDigest == "" {
			return nil, errNoBlueprint
		}
		layers = append(layers, baseLayer{ID: layer.ID, DiffID: layer.UncompressedDigest, Size: layer.UncompressedSize})
		id = layer.Parent
	}
	slices.Reverse(layers)
	return layers, nil
}

// mediaType returns the media type of a layer that is compressed so, or an error if the manifest's format has no such.
func (p *blueprint) mediaType(compression archive.Compression) (string, error) {
	types := map[archive.Compression]string{archive.Uncompressed: v1.MediaTypeImageLayer,
		archive.Gzip: v1.MediaTypeImageLayerGzip, archive.Zstd: v1.MediaTypeImageLayerZstd}
	if p.manifestType == define.Dockerv2ImageManifest {
		types = map[archive.Compression]string{archive.Uncompressed: docker.V2S2MediaTypeUncompressedLayer,
			archive.Gzip: manifest.DockerV2Schema2LayerMediaType}
	}
	if t, known := types[compression]; known {
		return t, nil
	}
	return "", fmt.Errorf("images of the type %s can't have layers compressed with %s", p.manifestType, compression.Extension())
}

// baseDescriptors describe the base's layers as they are in the store, uncompressed.
func (p *blueprint) baseDescriptors() ([]v1.Descriptor, error) {
	mediaType, err := p.mediaType(archive.Uncompressed)
	if err != nil {
		return nil, err
	}
	layers := make([]v1.Descriptor, len(p.base))
	for i, l := range p.base {
		layers[i] = v1.Descriptor{MediaType: mediaType, Digest: l.DiffID, Size: l.Size}
	}
	return layers, nil
}

// image returns the configuration and the manifest of the finished image: the container's own layer has the given diff ID,
// and the descriptors are of all layers as they were written, the base's first.
func (p *blueprint) image(diffID digest.Digest, layers []v1.Descriptor) (configuration, manifest []byte, err error) {
	if len(layers) != len(p.base)+1 {
		return nil, nil, fmt.Errorf("%d layers for an image of %d", len(layers), len(p.base)+1)
	}
	if p.manifestType == define.Dockerv2ImageManifest {
		var config docker.V2Image
		var m docker.V2S2Manifest
		return p.fill(&config, &m, func() {
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
			if own := p.own(len(config.History)); own >= 0 {
				config.History[own].EmptyLayer = false
			}
		}, func(sum digest.Digest, size int64) {
			m.Config.Digest, m.Config.Size, m.Layers = sum, size, nil
			for _, l := range layers {
				m.Layers = append(m.Layers, docker.V2S2Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size})
			}
		})
	}
	var config v1.Image
	var m v1.Manifest
	return p.fill(&config, &m, func() {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		if own := p.own(len(config.History)); own >= 0 {
			config.History[own].EmptyLayer = false
		}
	}, func(sum digest.Digest, size int64) {
		m.Config.Digest, m.Config.Size, m.Layers = sum, size, layers
	})
}

// own returns which entry of a history that long is the container's own layer, or -1: there is none if the base has none.
func (p *blueprint) own(length int) int { return max(-1, length-1-p.after) }

// fill decodes the configuration and the manifest, has them completed one after the other, since the manifest names the
// configuration by its digest and size, and encodes them again.
func (p *blueprint) fill(
	config, m any, enter func(), describe func(sum digest.Digest, size int64),
) (configuration, manifest []byte, err error) {
	if err := errors.Join(json.Unmarshal(p.config, config), json.Unmarshal(p.manifest, m)); err != nil {
		return nil, nil, err
	}
	enter()
	if configuration, err = json.Marshal(config); err != nil {
		return nil, nil, err
	}
	describe(digest.FromBytes(configuration), int64(len(configuration)))
	manifest, err = json.Marshal(m)
	return configuration, manifest, err
}
