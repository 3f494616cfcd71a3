package engine

import (
	"context"
	"errors"
	"fmt"

	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/archive"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// CommitOptions say what image a container becomes.
type CommitOptions struct {
	Name   string // a name in the store, a name at a transport, or "" for a nameless image in the store
	Format string // "oci" (also "") or "docker"
	Squash bool   // one layer, the base image's included

	Compression Compression // of the layers, for a name at a transport
}

// Commit writes the container's files and configuration as an image. The container stays as it is and can go on.
func (c *Container) Commit(ctx context.Context, o CommitOptions) (*Image, error) {
	if err := c.alive("commit"); err != nil {
		return nil, err
	}
	format, err := manifestType(o.Format)
	if err != nil {
		return nil, err
	}
	b := c.run
	dest, system, err := b.destination(o.Name)
	if err != nil {
		return nil, err
	}
	outside := dest != nil && dest.Transport().Name() != reference.Storage
	if err := o.Compression.check(o.Format, transportOf(dest)); err != nil {
		return nil, err
	}
	b.step("commit " + c.target(o.Name))
	options := buildah.CommitOptions{
		PreferredManifestType:  format,
		Compression:            compression(dest),
		CompressionFormat:      o.Compression.chosen(),
		CompressionLevel:       o.Compression.level(),
		ForceCompressionFormat: o.Compression.forced() != nil,
		SystemContext:          system,
		Squash:                 o.Squash,
		SourceDateEpoch:        b.options.Created,
		MaxRetries:             retries,
		RetryDelay:             retryDelay,
	}
	if outside {
		image, err := c.ship(ctx, dest, o, options)
		if err == nil {
			return image, nil
		} else if !errors.Is(err, errLibrary) {
			return nil, explain("commit", c.target(o.Name), err)
		}
	}
	results, err := c.builder.CommitResults(ctx, dest, options)
	if err != nil {
		return nil, explain("commit", c.target(o.Name), err)
	}
	if !outside {
		return b.imageByID(results.ImageID)
	}
	return &Image{ID: results.ImageID, Digest: results.Digest.String(), Names: []string{o.Name}}, nil
}

// compression is how layers are written: as they are to the store, which unpacks them at once, and compressed to all
// places that keep them or send them on.
func compression(dest types.ImageReference) archive.Compression {
	if dest == nil || dest.Transport().Name() == reference.Storage {
		return archive.Uncompressed
	}
	return archive.Gzip
}

// transportOf names the transport that an image is committed to.
func transportOf(dest types.ImageReference) string {
	if dest == nil {
		return reference.Storage
	}
	return dest.Transport().Name()
}

// target is how messages name a commit.
func (c *Container) target(name string) string {
	if name == "" {
		return c.name
	}
	return fmt.Sprintf("%s to %s", c.name, name)
}

// destination resolves the name of an image to be written. No name is a nil reference.
func (b *Builder) destination(text string) (types.ImageReference, *types.SystemContext, error) {
	if text == "" {
		return nil, b.system, nil
	}
	name, err := b.parse(text)
	if err != nil {
		return nil, nil, err
	}
	if name.Transport == "" || name.Transport == reference.Storage {
		ref, err := b.storageRef(text)
		return ref, b.system, err
	}
	ref, err := name.Ref()
	if err != nil {
		return nil, nil, failure.New("image name", fmt.Sprintf("%q", text), "%w", err)
	}
	return ref, b.systemFor(name), nil
}

func manifestType(format string) (string, error) {
	switch format {
	case "", "oci":
		return define.OCIv1ImageManifest, nil
	case "docker":
		return define.Dockerv2ImageManifest, nil
	}
	return "", failure.New("image format", fmt.Sprintf("%q", format), `is neither "oci" nor "docker"`)
}
