package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.podman.io/buildah"
	"go.podman.io/common/libimage"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// Inspect describes the container as `buildah inspect` does, as the values of encoding/json.
func (c *Container) Inspect() (map[string]any, error) {
	if err := c.alive("inspect"); err != nil {
		return nil, err
	}
	return plain(c.builder)
}

// Inspect describes an image of the store as `buildah inspect --type image` does, and a manifest list without an image for
// this machine as InspectManifest, as the values of encoding/json.
func (b *Builder) Inspect(ctx context.Context, image *Image) (map[string]any, error) {
	builder, err := buildah.ImportBuilderFromImage(ctx, b.options.Store, buildah.ImportFromImageOptions{
		Image:         image.ID,
		SystemContext: b.system,
	})
	if err != nil {
		if list, listErr := b.InspectManifest(image.ID); listErr == nil {
			return list, nil
		}
		return nil, explain("inspect", image.label(), err)
	}
	return plain(builder)
}

// errNoList is the cause of InspectManifest's error when the name isn't a list's.
var errNoList = errors.New("is no manifest list in the store")

// InspectManifest describes a manifest list of the store as `buildah inspect --type manifest` does, as the values of
// encoding/json.
func (b *Builder) InspectManifest(name string) (map[string]any, error) {
	known, err := b.storeName(name)
	if err != nil {
		return nil, err
	}
	images, err := b.images(b.system)
	if err != nil {
		return nil, err
	}
	list, err := images.LookupManifestList(known)
	if errors.Is(err, storage.ErrImageUnknown) || errors.Is(err, libimage.ErrNotAManifestList) {
		return nil, failure.New("inspect", name, "%w", errNoList)
	} else if err != nil {
		return nil, explain("inspect", name, err)
	}
	described, err := list.Inspect()
	if err != nil {
		return nil, explain("inspect", name, err)
	}
	return values(described)
}

// InspectRemoteManifest describes a manifest list as InspectManifest does, and one that isn't in the store, but in a registry or
// at another transport, by what is there.
func (b *Builder) InspectRemoteManifest(ctx context.Context, text string, a Access) (map[string]any, error) {
	described, missing := b.InspectManifest(text)
	if !errors.Is(missing, errNoList) {
		return described, missing
	}
	name, err := b.parse(text)
	if err != nil {
		return nil, err
	}
	switch {
	case name.Transport == reference.Storage, name.Transport == "" && (name.Host() == "" || name.Host() == "localhost"):
		return nil, missing
	case name.Transport == "":
		name.Transport = reference.Registry
	}
	system, err := b.systemFor(name, a)
	if err != nil {
		return nil, err
	}
	blob, mediaType, err := readManifest(ctx, name, system)
	if err != nil {
		return nil, explain("inspect", text, err)
	}
	if !manifest.MIMETypeIsMultiImage(mediaType) {
		return nil, failure.New("inspect", text, "is an image and no manifest list")
	}
	return values(json.RawMessage(blob))
}

func readManifest(ctx context.Context, name reference.Name, system *types.SystemContext) ([]byte, string, error) {
	ref, err := name.Ref()
	if err != nil {
		return nil, "", err
	}
	return manifestAt(ctx, ref, system)
}

// InspectAny describes whatever has the name: a container, else an image, else a manifest list.
func (b *Builder) InspectAny(ctx context.Context, name string) (map[string]any, error) {
	if c, err := b.Container(name); err == nil {
		return c.Inspect()
	} else if !errors.Is(err, errNoContainer) {
		return nil, err
	}
	image, err := b.Image(name)
	if err == nil {
		return b.Inspect(ctx, image)
	}
	// A list without an image for this machine is none that the library finds.
	described, listErr := b.InspectManifest(name)
	if errors.Is(listErr, errNoList) {
		return nil, err
	}
	return described, listErr
}

func plain(builder *buildah.Builder) (map[string]any, error) {
	return values(buildah.GetBuildInfo(builder))
}

// values converts a description to the values of encoding/json.
func values(description any) (map[string]any, error) {
	text, err := json.Marshal(description)
	if err != nil {
		return nil, fmt.Errorf("describing: %w", err)
	}
	described := map[string]any{}
	if err := json.Unmarshal(text, &described); err != nil {
		return nil, fmt.Errorf("describing: %w", err)
	}
	return described, nil
}
