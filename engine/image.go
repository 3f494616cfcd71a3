package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.podman.io/common/libimage"
	"go.podman.io/common/pkg/config"
	"go.podman.io/image/v5/pkg/shortnames"
	is "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/reference"
	"github.com/rlbuild/rlbuild/engine/store"
)

// Image is an image that was committed, pulled or found.
type Image struct {
	ID     string   // 64 hexadecimal digits: the digest of its configuration
	Digest string   // of its manifest, "sha256:…"
	Names  []string // in the store, fully qualified
	Stored bool     // in the store; false for one that was committed to another transport

	run *Builder // whose store it is in; nil if it is in none
}

// PullOptions say which image is fetched and how.
type PullOptions struct {
	Image            string
	AllTags          bool   // every tag of a registry's repository
	Policy           string // as FromOptions.Pull
	Platform         Platform
	RemoveSignatures bool     // they aren't stored
	DecryptionKeys   []string // as FromOptions.DecryptionKeys
	Access           Access
}

// Pull fetches an image into the store; all images of a repository if AllTags is set, and then only.
func (b *Builder) Pull(ctx context.Context, o PullOptions) ([]*Image, error) {
	policy, err := pullPolicy(o.Policy)
	if err != nil {
		return nil, err
	}
	name, system, err := b.source(o.Image, o.Access, o.Platform)
	if err != nil {
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
	options := &libimage.PullOptions{AllTags: o.AllTags}
	if options.OciDecryptConfig, err = decryption(o.DecryptionKeys); err != nil {
		return nil, err
	}
	tries, delay := uint(o.Access.retries()), o.Access.retryDelay()
	options.MaxRetries, options.RetryDelay = &tries, &delay
	options.RemoveSignatures = o.RemoveSignatures
	b.step("pull " + o.Image)
	heard := b.sayRetries("pull " + o.Image)
	pulled, err := pulling(ctx, b, "pull "+o.Image, func() ([]*libimage.Image, error) { return images.Pull(ctx, name, common, options) })
	heard()
	if err != nil {
		return nil, explain("pull", o.Image, err)
	}
	if len(pulled) == 0 {
		return nil, failure.New("pull", o.Image, "no image came of it")
	}
	all := make([]*Image, len(pulled))
	for i, image := range pulled {
		if all[i], err = b.imageByID(image.ID()); err != nil {
			return nil, err
		}
	}
	b.settle()
	return all, nil
}

// pulls is how often an image is pulled whose layers lose their directories.
const pulls = 3

// pulling calls what pulls an image and, when a layer lost its directory to another process (store.ErrLayerLost), calls it again.
func pulling[T any](ctx context.Context, b *Builder, subject string, pull func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		result, err := stopping(ctx, b, pull)
		if try == pulls || ctx.Err() != nil || !errors.Is(err, store.ErrLayerLost) {
			return result, err
		}
		b.options.Note(subject + ": " + store.ErrLayerLost.Error() + "; pulling it again")
	}
}

// settle makes what a verb has entered into the store stay when the run is killed, names or none.
func (b *Builder) settle() {
	if err := b.options.Store.Settle(); err != nil {
		b.options.Info(fmt.Sprintf("images without a name may go if this run is killed: %v", err))
	}
}

// images is the library's view of the store's images.
func (b *Builder) images(system *types.SystemContext) (*libimage.Runtime, error) {
	images, err := libimage.RuntimeFromStore(b.options.Store, &libimage.RuntimeOptions{SystemContext: system})
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
	return b.stored(found), nil
}

// stored describes an image of the store.
func (b *Builder) stored(i *storage.Image) *Image {
	return &Image{ID: i.ID, Digest: i.Digest.String(), Names: slices.Clone(i.Names), Stored: true, run: b}
}

// Image finds an image of the store by name, ID or the start of one.
func (b *Builder) Image(name string) (*Image, error) {
	name, err := b.storeName(name)
	if err != nil {
		return nil, err
	}
	images, err := b.images(b.system)
	if err != nil {
		return nil, err
	}
	found, _, err := images.LookupImage(name, nil)
	if err != nil {
		return nil, explain("looking up", name, err)
	}
	return b.imageByID(found.ID())
}

// storeName returns a name of the store as the library looks it up, without a transport.
func (b *Builder) storeName(name string) (string, error) {
	parsed, err := reference.Parse(name)
	if err == nil && parsed.Transport == reference.Storage {
		name = parsed.Rest
	}
	return name, err
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

// Untag takes names off an image of the store, all of them if none is given. The image stays.
func (b *Builder) Untag(image *Image, names []string) error {
	if err := b.Refresh(image); err != nil {
		return err
	}
	full := slices.Clone(image.Names)
	if len(names) > 0 {
		full = full[:0]
	}
	for _, name := range names {
		known, err := b.localName(name)
		if err != nil {
			return err
		}
		if !slices.Contains(image.Names, known) {
			return failure.New("untag", image.label(), "has no name %q", known).WithHint("its names: %s", strings.Join(image.Names, ", "))
		}
		full = append(full, known)
	}
	if len(full) > 0 {
		if err := b.options.Store.RemoveNames(image.ID, full); err != nil {
			return explain("untag", image.label(), err)
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
	ref, err := is.Transport.ParseStoreReference(b.options.Store, full)
	if err != nil {
		return nil, failure.New("image name", fmt.Sprintf("%q", name), "%w", err)
	}
	return ref, nil
}

// label is how messages name the image.
func (i *Image) label() string {
	if len(i.Names) > 0 {
		return i.Names[0]
	}
	return fmt.Sprintf("%.12s", i.ID)
}

// parse parses an image name and makes the path of an archive or layout absolute, from the run's directory.
func (b *Builder) parse(text string) (reference.Name, error) {
	name, err := reference.Parse(text)
	if err != nil {
		_, rest, _ := strings.Cut(text, ":")
		at, _, _ := strings.Cut(rest, ":")
		if !filepath.IsAbs(at) {
			at = filepath.Join(b.options.Dir, at)
		}
		if k := pathCause(at, reach.Read, err); k != nil {
			return name, k.explain("image name", strconv.Quote(failure.Redact(text)), err)
		}
	}
	return name.In(b.options.Dir), err
}
