package engine

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	imagecopy "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	dockerref "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	is "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/gpg"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// sign adds signatures to an image that has been written to the place already, in the store or at a registry. It signs
// what was written, by its ID or digest, and never what somebody else has given the name to since.
func (b *Builder) sign(ctx context.Context, image *Image, place types.ImageReference, system *types.SystemContext, p *protector) error {
	if !p.signs() {
		return nil
	}
	source, err := b.unchanging(image, place)
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}, // it is our own
	})
	if err != nil {
		return err
	}
	defer func() { _ = policy.Destroy() }() // it holds nothing
	_, err = imagecopy.Image(ctx, policy, p.destination(place), source, &imagecopy.Options{
		SourceCtx: system, DestinationCtx: system, Signers: p.signers, PreserveDigests: true,
		ImageListSelection: imagecopy.CopyAllImages,
	})
	return err
}

// unchanging is the image that was written to the place under a name that only it has.
func (b *Builder) unchanging(image *Image, place types.ImageReference) (types.ImageReference, error) {
	if transportOf(place) == reference.Storage {
		return is.Transport.NewStoreReference(b.options.Store, nil, image.ID)
	}
	sum, err := digest.Parse(image.Digest)
	if err != nil {
		return nil, err
	}
	name, err := dockerref.WithDigest(dockerref.TrimNamed(place.DockerReference()), sum)
	if err != nil {
		return nil, err
	}
	return docker.NewReference(name)
}

// signing is a place for images that signs whatever manifest is written to it.
type signing struct {
	types.ImageReference
	key *gpg.Key
}

func (s *signing) NewImageDestination(ctx context.Context, system *types.SystemContext) (types.ImageDestination, error) {
	name := s.DockerReference()
	if name == nil || dockerref.IsNameOnly(name) {
		return nil, failure.New("signing", "the image", "it has no name that the signature could be for").
			WithHint("give the image a name with a tag.")
	}
	inner, err := s.ImageReference.NewImageDestination(ctx, system)
	if err != nil {
		return nil, err
	}
	if err := inner.SupportsSignatures(ctx); err != nil {
		inner.Close()
		return nil, err
	}
	return &signingDestination{ImageDestination: inner, key: s.key, name: name.String()}, nil
}

// signingDestination gathers signatures and manifests, and writes the signatures at the end: the library puts down an
// image's manifest first, then its signatures if it has any.
type signingDestination struct {
	types.ImageDestination
	key     *gpg.Key
	name    string // what the signatures are for
	written []signedManifest
}

// signedManifest is one manifest of an image: of all of it, or of an instance in a list.
type signedManifest struct {
	instance   *digest.Digest // nil for the image itself
	manifest   []byte
	signatures [][]byte // that it had before
}

func (d *signingDestination) PutManifest(ctx context.Context, manifest []byte, instance *digest.Digest) error {
	if err := d.ImageDestination.PutManifest(ctx, manifest, instance); err != nil {
		return err
	}
	d.written = append(d.written, signedManifest{instance: instance, manifest: manifest})
	return nil
}

func (d *signingDestination) PutSignatures(ctx context.Context, signatures [][]byte, instance *digest.Digest) error {
	for i := range d.written {
		if of := d.written[i].instance; of == instance || of != nil && instance != nil && *of == *instance {
			d.written[i].signatures = signatures
		}
	}
	return nil
}

func (d *signingDestination) Commit(ctx context.Context, toplevel types.UnparsedImage) error {
	for _, w := range d.written {
		made, err := signature.SignDockerManifest(w.manifest, d.name, d.key, d.key.ID())
		if err != nil {
			return err
		}
		if err := d.ImageDestination.PutSignatures(ctx, append(w.signatures, made), w.instance); err != nil {
			return fmt.Errorf("writing signatures: %w", err)
		}
	}
	return d.ImageDestination.Commit(ctx, toplevel)
}
