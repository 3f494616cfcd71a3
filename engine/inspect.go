package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"go.podman.io/buildah"
)

// Inspect describes the container as `buildah inspect` does, as the values of encoding/json.
func (c *Container) Inspect() (map[string]any, error) {
	if err := c.alive("inspect"); err != nil {
		return nil, err
	}
	return plain(c.builder)
}

// Inspect describes an image of the store as `buildah inspect --type image` does, as the values of encoding/json.
func (b *Builder) Inspect(ctx context.Context, image *Image) (map[string]any, error) {
	builder, err := buildah.ImportBuilderFromImage(ctx, b.options.Store.Store, buildah.ImportFromImageOptions{
		Image:         image.ID,
		SystemContext: b.system,
	})
	if err != nil {
		return nil, explain("inspect", image.label(), err)
	}
	return plain(builder)
}

func plain(builder *buildah.Builder) (map[string]any, error) {
	text, err := json.Marshal(buildah.GetBuildInfo(builder))
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", builder.Container, err)
	}
	described := map[string]any{}
	if err := json.Unmarshal(text, &described); err != nil {
		return nil, fmt.Errorf("describing %s: %w", builder.Container, err)
	}
	return described, nil
}
