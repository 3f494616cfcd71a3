package engine

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
)

// description is a place to write an image to that keeps its configuration and claims to have every layer already. It is
// the reference, its transport and the destination in one.
type description struct {
	target types.ImageReference // for which the library checks that it may be written to; nil if it is nowhere
	system *types.SystemContext // as the library completes it for the target
	config []byte
}

var (
	_ types.ImageReference   = (*description)(nil)
	_ types.ImageTransport   = (*description)(nil)
	_ types.ImageDestination = (*description)(nil)
)

func (d *description) Name() string { return "description" }

func (d *description) ParseReference(string) (types.ImageReference, error) {
	return nil, errors.ErrUnsupported
}
func (d *description) ValidatePolicyConfigurationScope(string) error   { return nil }
func (d *description) StringWithinTransport() string                   { return "" }
func (d *description) PolicyConfigurationIdentity() string             { return "" }
func (d *description) PolicyConfigurationNamespaces() []string         { return nil }
func (d *description) Reference() types.ImageReference                 { return d }
func (d *description) Close() error                                    { return nil }
func (d *description) SupportedManifestMIMETypes() []string            { return nil }
func (d *description) SupportsSignatures(context.Context) error        { return errors.ErrUnsupported }
func (d *description) DesiredLayerCompression() types.LayerCompression { return types.PreserveOriginal }
func (d *description) AcceptsForeignLayerURLs() bool                   { return true }
func (d *description) MustMatchRuntimeOS() bool                        { return false }
func (d *description) IgnoresEmbeddedDockerReference() bool            { return true }
func (d *description) HasThreadSafePutBlob() bool                      { return false }

func (d *description) Transport() types.ImageTransport {
	if d.target != nil {
		return d.target.Transport()
	}
	return d
}

func (d *description) DockerReference() reference.Named {
	if d.target != nil {
		return d.target.DockerReference()
	}
	return nil
}

func (d *description) NewImage(context.Context, *types.SystemContext) (types.ImageCloser, error) {
	return nil, errors.ErrUnsupported
}

func (d *description) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return nil, errors.ErrUnsupported
}

func (d *description) NewImageDestination(_ context.Context, system *types.SystemContext) (types.ImageDestination, error) {
	d.system = system
	return d, nil
}

func (d *description) DeleteImage(context.Context, *types.SystemContext) error {
	return errors.ErrUnsupported
}

// TryReusingBlob claims to have every layer.
func (d *description) TryReusingBlob(_ context.Context, info types.BlobInfo, _ types.BlobInfoCache, _ bool) (bool, types.BlobInfo, error) {
	return true, info, nil
}

// PutBlob keeps the configuration; layers never come.
func (d *description) PutBlob(_ context.Context, stream io.Reader, info types.BlobInfo, _ types.BlobInfoCache, isConfig bool) (types.BlobInfo, error) {
	if !isConfig {
		return types.BlobInfo{}, errors.ErrUnsupported
	}
	var err error
	if d.config, err = io.ReadAll(stream); err != nil {
		return types.BlobInfo{}, err
	}
	return types.BlobInfo{Digest: digest.FromBytes(d.config), Size: int64(len(d.config))}, nil
}

// PutManifest drops the manifest: the library returns it as well.
func (d *description) PutManifest(context.Context, []byte, *digest.Digest) error { return nil }

func (d *description) PutSignatures(context.Context, [][]byte, *digest.Digest) error { return nil }

func (d *description) Commit(context.Context, types.UnparsedImage) error { return nil }
