package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/pkg/blobinfocache"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/ociarchive"
)

// libraryOutlet is a destination of the library's, which takes blobs as they come.
type libraryOutlet struct {
	types.ImageDestination
	cache       types.BlobInfoCache
	compression Compression
}

func newLibraryOutlet(to types.ImageDestination, system *types.SystemContext, c Compression) *libraryOutlet {
	return &libraryOutlet{ImageDestination: to, cache: blobinfocache.DefaultCache(system), compression: c}
}

func (p *libraryOutlet) reuse(ctx context.Context, layer baseLayer) (types.BlobInfo, bool, error) {
	info := types.BlobInfo{Digest: layer.DiffID, Size: layer.Size}
	ok, there, err := p.TryReusingBlob(ctx, info, p.cache, !p.compression.Disable)
	if forced := p.compression.forced(); forced != nil && ok {
		ok = there.CompressionAlgorithm != nil && there.CompressionAlgorithm.Name() == forced.Name()
	}
	return there, ok, err
}

func (p *libraryOutlet) put(ctx context.Context, r io.Reader) (digest.Digest, int64, error) {
	written, err := p.PutBlob(ctx, r, types.BlobInfo{Size: -1}, p.cache, false)
	return written.Digest, written.Size, err
}

func (p *libraryOutlet) finish(ctx context.Context, config, manifest []byte) error {
	info := types.BlobInfo{Digest: digest.FromBytes(config), Size: int64(len(config))}
	if _, err := p.PutBlob(ctx, bytes.NewReader(config), info, p.cache, true); err != nil {
		return err
	}
	if err := p.PutManifest(ctx, manifest, nil); err != nil {
		return err
	}
	return p.Commit(ctx, nil) // only the store looks at the source's manifest list
}

// archiveOutlet is an OCI archive.
type archiveOutlet struct {
	*ociarchive.Writer
	image string // its name in the index
}

// archiveOutlet opens an archive whose own files have the given time, or now.
func (b *Builder) archiveOutlet(dest types.ImageReference, fixed *time.Time) (outlet, error) {
	at := time.Now()
	if fixed != nil {
		at = *fixed
	}
	path, image, _ := strings.Cut(dest.StringWithinTransport(), ":")
	w, err := ociarchive.Create(path, at)
	if errors.Is(err, ociarchive.ErrUnsuitable) {
		return nil, notDirect(path + " is no regular file")
	} else if err != nil {
		return nil, err
	}
	return &archiveOutlet{w, image}, nil
}

// reuse finds nothing: a file that is there is replaced.
func (p *archiveOutlet) reuse(context.Context, baseLayer) (types.BlobInfo, bool, error) {
	return types.BlobInfo{}, false, nil
}

func (p *archiveOutlet) put(ctx context.Context, r io.Reader) (digest.Digest, int64, error) {
	return p.Blob(ctx, r)
}

func (p *archiveOutlet) finish(ctx context.Context, config, manifest []byte) error {
	if _, _, err := p.Blob(ctx, bytes.NewReader(config)); err != nil {
		return err
	}
	sum, size, err := p.Blob(ctx, bytes.NewReader(manifest))
	if err != nil {
		return err
	}
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return err
	}
	return p.Finish(v1.Descriptor{MediaType: m.MediaType, Digest: sum, Size: size}, p.image)
}
