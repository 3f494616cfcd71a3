package engine

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/store"
)

// streaming is an image of the store whose layers are read as they are sent. The library's own source writes each into a
// temporary file first, so that it needs to keep others out of the store no longer than that takes.
type streaming struct {
	types.ImageReference
	store *store.Store
	top   string // the image's uppermost layer
}

func (s *streaming) NewImageSource(ctx context.Context, system *types.SystemContext) (types.ImageSource, error) {
	inner, err := s.ImageReference.NewImageSource(ctx, system)
	if err != nil {
		return nil, err
	}
	layers := map[digest.Digest]string{}
	for id := s.top; id != ""; {
		layer, err := s.store.Layer(id)
		if err != nil {
			return nil, err
		}
		layers[layer.UncompressedDigest] = id
		id = layer.Parent
	}
	return &streamingSource{ImageSource: inner, store: s.store, layers: layers}, nil
}

type streamingSource struct {
	types.ImageSource
	store  *store.Store
	layers map[digest.Digest]string // IDs, by what the library asks for
}

// GetBlob returns a layer's stream; the library compares its digest when it has read it to the end.
func (s *streamingSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	id, ok := s.layers[info.Digest]
	if !ok || info.Digest == "" {
		return s.ImageSource.GetBlob(ctx, info, cache)
	}
	r, w := io.Pipe()
	var writing sync.WaitGroup
	writing.Go(func() { w.CloseWithError(s.store.WriteLayer(w, id)) })
	return &layerReader{r, &writing}, info.Size, nil
}

// layerReader is the reading end of a layer. Closed early, it ends the writing too.
type layerReader struct {
	*io.PipeReader
	writing *sync.WaitGroup
}

func (r *layerReader) Close() error {
	err := r.PipeReader.Close()
	r.writing.Wait()
	return err
}
