package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.podman.io/common/libimage"
	"go.podman.io/common/pkg/config"
	"go.podman.io/image/v5/pkg/shortnames"
	is "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// Image is an image that was committed, pulled or found.
type Image struct {
	ID     string   // 64 hexadecimal digits: the digest of its configuration
	Digest string   // of its manifest, "sha256:…"
	Names  []string // in the store, fully qualified
	Stored bool     // in the store; false for one that was committed to another transport
}

// PullOptions say which image is fetched and how.
type PullOptions struct {
	Image    string
	Policy   string // as FromOptions.Pull
	Platform string // as FromOptions.Platform
	Access   Access
}

// Pull fetches an image into the store.
func (b *Builder) Pull(ctx context.Context, o PullOptions) (*Image, error) {
	name, err := b.parse(o.Image)
	if err != nil {
		return nil, err
	}
	policy, err := pullPolicy(o.Policy)
	if err != nil {
		return nil, err
	}
	system, err := b.systemFor(name, o.Access)
	if err != nil {
		return nil, err
	}
	if system, err = withPlatform(system, o.Platform); err != nil {
		return nil, err
	}
	images, err := b.images(system)
	if err != nil {
		return nil, err
	}
	common, err := config.ParsePullPolicy(policy.String())
	if err != nil {
		return nil, err
	}
	b.step("pull " + o.Image)
	options := &libimage.PullOptions{}
	tries, delay := uint(o.Access.retries()), o.Access.retryDelay()
	options.MaxRetries, options.RetryDelay = &tries, &delay
	pulled, err := images.Pull(ctx, name.String(), common, options)
	if err != nil {
		return nil, explain("pull", o.Image, err)
	}
	if len(pulled) == 0 {
		return nil, failure.New("pull", o.Image, "no image came of it")
	}
	return b.imageByID(pulled[0].ID())
}

// images is the library's view of the store's images.
func (b *Builder) images(system *types.SystemContext) (*libimage.Runtime, error) {
	images, err := libimage.RuntimeFromStore(b.options.Store.Store, &libimage.RuntimeOptions{SystemContext: system})
	if err != nil {
		return nil, fmt.Errorf("opening the store's images: %w", err)
	}
	return images, nil
}

// imageByID describes an image of the store.
func (b *Builder) imageByID(id string) (*Image, error) {
	found, err := b.options.Store.Image(id)
	if err != nil {
		return nil, explain("looking up", id, err)
	}
	return &Image{ID: found.ID, Digest: found.Digest.String(), Names: slices.Clone(found.Names), Stored: true}, nil
}

// Image finds an image of the store by name, ID or the start of one.
func (b *Builder) Image(name string) (*Image, error) {
	parsed, err := reference.Parse(name)
	if err != nil {
		return nil, err
	}
	images, err := b.images(b.system)
	if err != nil {
		return nil, err
	}
	if parsed.Transport == reference.Storage {
		name = parsed.Rest
	}
	found, _, err := images.LookupImage(name, nil)
	if err != nil {
		return nil, explain("looking up", name, err)
	}
	return b.imageByID(found.ID())
}

// Refresh reads the image's names and digest from the store again.
func (b *Builder) Refresh(image *Image) error {
	now, err := b.imageByID(image.ID)
	if err == nil {
		*image = *now
	}
	return err
}

// Tag gives an image of the store more names.
func (b *Builder) Tag(image *Image, names []string) error {
	for _, name := range names {
		full, err := b.localName(name)
		if err != nil {
			return err
		}
		if err := b.options.Store.AddNames(image.ID, []string{full}); err != nil {
			return explain("tag", name, err)
		}
	}
	return b.Refresh(image)
}

// localName returns the full name that a plain or containers-storage: name has in the store: "app" is
// "localhost/app:latest".
func (b *Builder) localName(text string) (string, error) {
	name, err := reference.Parse(text)
	if err != nil {
		return "", err
	}
	if name.Transport != "" && name.Transport != reference.Storage {
		return "", failure.New("image name", fmt.Sprintf("%q", text), "leads out of the store, where a name in it is meant")
	}
	full, err := shortnames.ResolveLocally(b.system, name.Rest)
	if err != nil {
		return "", failure.New("image name", fmt.Sprintf("%q", text), "%w", err)
	}
	return full[0].String(), nil
}

// storageRef returns the library's reference for a name in the store.
func (b *Builder) storageRef(name string) (types.ImageReference, error) {
	full, err := b.localName(name)
	if err != nil {
		return nil, err
	}
	ref, err := is.Transport.ParseStoreReference(b.options.Store.Store, full)
	if err != nil {
		return nil, failure.New("image name", fmt.Sprintf("%q", name), "%w", err)
	}
	return ref, nil
}

// RemoveImage deletes an image, with all its names, from the store.
func (b *Builder) RemoveImage(image *Image) error {
	_, err := b.options.Store.DeleteImage(image.ID, true)
	if errors.Is(err, storage.ErrImageUsedByContainer) {
		return failure.New("remove", image.label(), "%w", err).
			WithHint("remove the containers that are based on it first.")
	} else if err != nil {
		return explain("remove", image.label(), err)
	}
	return nil
}

// label is how messages name the image.
func (i *Image) label() string {
	if len(i.Names) > 0 {
		return i.Names[0]
	}
	return fmt.Sprintf("%.12s", i.ID)
}
