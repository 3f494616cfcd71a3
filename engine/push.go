package engine

import (
	"context"
	"strings"

	"go.podman.io/buildah"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/archive"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// PushOptions say where an image is sent.
type PushOptions struct {
	Dest        string // a name at a transport; without one a registry is meant; "" is the image's own first name
	Format      string // "oci", "docker", or "" for the one it has
	Compression Compression
	Access      Access
}

// Pushed is what became of a push.
type Pushed struct {
	Digest    string // of the manifest as it was written, "sha256:…"
	Reference string // by which it can be had again; with the digest where the transport has such names
}

// Push copies an image of the store to a registry, an archive or a directory.
func (b *Builder) Push(ctx context.Context, image *Image, o PushOptions) (*Pushed, error) {
	if !image.Stored {
		return nil, failure.New("push", image.label(), "the image was committed to a place outside the store").
			WithHint("commit it to a name in the store first, then push it from there.")
	}
	dest := o.Dest
	if dest == "" {
		if len(image.Names) == 0 {
			return nil, failure.New("push", image.label(), "the image has no name that says where to").
				WithHint(`say where to: push(image, "docker://registry.example/name:tag")`)
		}
		dest = image.Names[0]
		if strings.HasPrefix(dest, "localhost/") {
			return nil, failure.New("push", dest, "the image's own name leads to no registry").
				WithHint(`say where to: push(image, "docker://registry.example/name:tag")`)
		}
	}
	name, err := b.parse(dest)
	if err != nil {
		return nil, err
	}
	if name.Transport == "" {
		name.Transport = reference.Registry
	}
	ref, system, err := b.destination(name.String(), o.Access)
	if err != nil {
		return nil, err
	}
	format := ""
	if o.Format != "" {
		if format, err = manifestType(o.Format); err != nil {
			return nil, err
		}
	}
	if err := o.Compression.check(o.Format, name.Transport); err != nil {
		return nil, err
	}
	b.step("push " + image.label() + " to " + name.String())
	options := buildah.PushOptions{
		Compression:            archive.Gzip,
		CompressionFormat:      o.Compression.chosen(),
		CompressionLevel:       o.Compression.level(),
		ForceCompressionFormat: o.Compression.forced() != nil,
		ManifestType:           format,
		Store:                  b.options.Store.Store,
		SystemContext:          system,
		MaxRetries:             o.Access.retries(),
		RetryDelay:             o.Access.retryDelay(),
	}
	options.SourceLookupReferenceFunc = func(ref types.ImageReference) (types.ImageReference, error) {
		stored, err := b.options.Store.Image(image.ID)
		if err != nil {
			return nil, err
		}
		return &streaming{ImageReference: ref, store: b.options.Store, top: stored.TopLayer}, nil
	}
	if name.Transport == reference.Registry {
		options.ForceCompressionFormat = false // the wrapped destination sees to that
		options.DestinationLookupReferenceFunc = func(ref types.ImageReference) (types.ImageReference, error) {
			return b.thrifty(image, ref, o.Compression.forced())
		}
	}
	canonical, digest, err := buildah.Push(ctx, image.ID, ref, options)
	if err != nil {
		return nil, explain("push", name.String(), err)
	}
	pushed := &Pushed{Digest: digest.String(), Reference: name.String()}
	if canonical != nil && name.Transport == reference.Registry {
		pushed.Reference = canonical.String()
	}
	return pushed, nil
}
