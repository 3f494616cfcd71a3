package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/common/libimage"
	"go.podman.io/common/libimage/manifests"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// ManifestOptions say what a list of images, a manifest list or an image index, is made of.
type ManifestOptions struct {
	Name     string      // in the store
	Entries  []ListEntry // what the list gets, in this order
	Remove   []ImageName // what it loses; of a list that is amended
	Settings IndexSettings

	All     bool   // take all images of an entry that is a list itself, rather than this platform's
	Amend   bool   // change the list that has the name, if there is one, rather than replace it
	Replace bool   // take the name from an image that has it
	Access  Access // for images at registries
}

// IndexSettings are what an index says of itself.
type IndexSettings struct {
	Annotations  map[string]string
	ArtifactType string
	Subject      *ImageName // nil for none
}

// ImageName names an image: one that is at hand, or by its name in the store, at a registry or another transport, or by
// the digest of its manifest in the list.
type ImageName struct {
	Image *Image
	Text  string
}

// ImageList is a list of images in the store.
type ImageList struct {
	Image     // whose ID is random, and whose digest is that of the list
	Instances []Instance
}

// Instance is one image or artefact in a list.
type Instance struct {
	Digest, MediaType, ArtifactType string
	Size                            int64
	OS, Arch, Variant, OSVersion    string
	Annotations                     map[string]string
}

// Manifest makes a list of images, or changes one. A list that has the name goes when the new one is there, and stays as
// it is if that fails.
func (b *Builder) Manifest(ctx context.Context, o ManifestOptions) (*ImageList, error) {
	if len(o.Remove) > 0 && !o.Amend {
		return nil, failure.New("manifest:", "remove", "takes images out of a list that is there, and this makes a new one").
			WithHint("say amend = True with it, or leave the images out.")
	}
	if o.Amend && o.Replace {
		return nil, failure.New("manifest:", "amend", "can't be had together with replace").WithHint("leave out one of them.")
	}
	edit, err := b.editList(o)
	if err != nil {
		return nil, err
	}
	b.step("manifest " + o.Name)
	if edit.old != nil && !edit.isList {
		switch {
		case o.Amend: // the image becomes the list's first
			edit.options.Entries = append([]ListEntry{{Image: ImageName{Image: edit.old}}}, o.Entries...)
		case !o.Replace:
			return nil, failure.New("manifest", o.Name, "a single image has that name").
				WithHint("give the list another, take the name from the image with replace = True, or add to the image with amend = True.")
		}
	}
	id, err := edit.save(ctx)
	if err != nil {
		return nil, err
	}
	return b.listByID(id)
}

// named returns what has the name in the store, or nil.
func (b *Builder) named(name string) (found *Image, isList bool, err error) {
	image, err := b.options.Store.Image(name)
	if errors.Is(err, storage.ErrImageUnknown) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, err
	}
	if found, err = b.imageByID(image.ID); err != nil {
		return nil, false, err
	}
	isList, err = b.isList(image.ID)
	return found, isList, err
}

// isList reports whether the image of the store is a list that can be edited: one that was made here, or by podman or
// buildah. An image that was pulled out of a list has the list's manifest too, under another name.
func (b *Builder) isList(id string) (bool, error) {
	data, err := b.options.Store.ImageBigData(id, storage.ImageDigestBigDataKey)
	if err != nil {
		return false, err
	}
	return manifest.MIMETypeIsMultiImage(manifest.GuessMIMEType(data)), nil
}

// dropUnnamed deletes a list that lost its name, unless it has others.
func (b *Builder) dropUnnamed(old *Image) {
	now, err := b.imageByID(old.ID)
	if err == nil && len(now.Names) == 0 {
		_, err = b.options.Store.DeleteImage(old.ID, true)
	}
	if err != nil {
		b.options.Info(fmt.Sprintf("the list that had the name %s before is still in the store: %v", old.label(), err))
	}
}

// List finds a list of the store by name, ID or the start of one. Found is false if there is none, but perhaps an image.
func (b *Builder) List(name string) (list *ImageList, found bool, err error) {
	parsed, err := reference.Parse(name)
	if err != nil {
		return nil, false, err
	}
	if parsed.Transport != "" && parsed.Transport != reference.Storage {
		return nil, false, nil
	}
	images, err := b.images(b.system)
	if err != nil {
		return nil, false, err
	}
	known, err := images.LookupManifestList(parsed.Rest)
	if errors.Is(err, libimage.ErrNotAManifestList) || errors.Is(err, storage.ErrImageUnknown) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, explain("looking up", name, err)
	}
	list, err = b.listByID(known.ID())
	return list, err == nil, err
}

// listByID describes a list of the store.
func (b *Builder) listByID(id string) (*ImageList, error) {
	image, err := b.imageByID(id)
	if err != nil {
		return nil, err
	}
	_, stored, err := manifests.LoadFromImage(b.options.Store, id)
	if err != nil {
		return nil, explain("reading", image.label(), err)
	}
	list := &ImageList{Image: *image}
	for _, entry := range stored.OCIv1().Manifests {
		i := Instance{
			Digest: entry.Digest.String(), MediaType: entry.MediaType, ArtifactType: entry.ArtifactType, Size: entry.Size,
			Annotations: maps.Clone(entry.Annotations),
		}
		if p := entry.Platform; p != nil {
			i.OS, i.Arch, i.Variant, i.OSVersion = p.OS, p.Architecture, p.Variant, p.OSVersion
		}
		list.Instances = append(list.Instances, i)
	}
	return list, nil
}

// RemoveList deletes a list of the store, by a name or by its ID, and leaves its images. Of a list with several names only
// the one goes, and by its ID it goes by force alone.
func (b *Builder) RemoveList(ctx context.Context, name string, force bool) error {
	known, err := b.storeName(name)
	if err != nil {
		return err
	}
	err = b.removeImage(ctx, known, libimage.RemoveImagesOptions{LookupManifest: true, Force: force})
	return explained("remove", name, err)
}

// subject describes the image that an index or an artefact says that it is about.
func (b *Builder) subject(ctx context.Context, of ImageName, a Access) (*v1.Descriptor, error) {
	ref, system, err := b.imageSource(of, a)
	if err != nil {
		return nil, err
	}
	data, mediaType, err := manifestAt(ctx, ref, system)
	if err != nil {
		return nil, fmt.Errorf("reading the subject %s: %w", of, err)
	}
	sum, err := manifest.Digest(data)
	return &v1.Descriptor{MediaType: mediaType, Size: int64(len(data)), Digest: sum}, err
}

// manifestAt reads the manifest of an image, or of a list.
func manifestAt(ctx context.Context, ref types.ImageReference, system *types.SystemContext) ([]byte, string, error) {
	source, err := ref.NewImageSource(ctx, system)
	if err != nil {
		return nil, "", err
	}
	defer source.Close() // it was only read from
	return image.UnparsedInstance(source, nil).Manifest(ctx)
}

// String is how messages name the image.
func (n ImageName) String() string {
	if n.Image != nil {
		return n.Image.label()
	}
	return n.Text
}

// inList returns the digest that the text is, if it is one.
func (n ImageName) inList() (digest.Digest, bool) {
	sum, err := digest.Parse(n.Text)
	return sum, err == nil && n.Image == nil
}
