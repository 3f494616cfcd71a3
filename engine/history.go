package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	is "go.podman.io/image/v5/storage"
	"go.podman.io/storage"
)

// HistoryEntry is one step in the making of an image.
type HistoryEntry struct {
	Created    *time.Time // nil if it isn't known
	CreatedBy  string
	Author     string
	Comment    string
	EmptyLayer bool
	Layer      string // the layer's diff ID, "sha256:…"; "" for none, or if the store doesn't know
	Size       int64  // of the layer's content, bytes; -1 if it isn't known
}

// History returns how an image of the store was made, the first step first, as its configuration has it.
func (b *Builder) History(ctx context.Context, image *Image) ([]HistoryEntry, error) {
	ref, err := is.Transport.ParseStoreReference(b.options.Store, image.ID)
	if err != nil {
		return nil, explain("history", image.label(), err)
	}
	source, err := ref.NewImage(ctx, b.system)
	if err != nil {
		return nil, explain("history", image.label(), err)
	}
	defer source.Close() // it was only read from
	config, err := source.OCIConfig(ctx)
	if err != nil {
		return nil, explain("history", image.label(), err)
	}
	layers, err := b.layersOf(image.ID)
	if err != nil {
		return nil, fmt.Errorf("reading the layers of %s: %w", image.label(), err)
	}
	filled := 0
	for _, h := range config.History {
		if !h.EmptyLayer {
			filled++
		}
	}
	if filled != len(layers) {
		layers = nil // the history leaves steps out: whose layer is whose can't be told
	}
	entries := make([]HistoryEntry, len(config.History))
	for i, h := range config.History {
		entries[i] = HistoryEntry{Created: h.Created, CreatedBy: h.CreatedBy, Author: h.Author, Comment: h.Comment,
			EmptyLayer: h.EmptyLayer}
		if h.EmptyLayer || len(layers) == 0 {
			continue
		}
		layer := layers[0]
		layers = layers[1:]
		entries[i].Layer, entries[i].Size = layer.UncompressedDigest.String(), layer.UncompressedSize
	}
	return entries, nil
}

// layersOf returns the layers of an image, the lowest first.
func (b *Builder) layersOf(imageID string) ([]*storage.Layer, error) {
	store := b.options.Store
	image, err := store.Image(imageID)
	if err != nil {
		return nil, err
	}
	var layers []*storage.Layer
	for id := image.TopLayer; id != ""; {
		layer, err := store.Layer(id)
		if errors.Is(err, storage.ErrLayerUnknown) {
			break // an image that lost layers has a history still
		} else if err != nil {
			return nil, err
		}
		layers = append([]*storage.Layer{layer}, layers...)
		id = layer.Parent
	}
	return layers, nil
}
