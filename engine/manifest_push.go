package engine

import (
	"context"
	"time"

	"go.podman.io/common/libimage/manifests"
	imagecopy "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/manifest"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// ListPushOptions are what only the push of a list has.
type ListPushOptions struct {
	ListOnly       bool       // leave out the list's images: the registry has them
	Remove         bool       // remove the list from the store when it is there
	AddCompression []string   // add instances of each image, compressed so: "gzip", "zstd", "zstd:chunked"
	Timestamp      *time.Time // of new content; nil leaves the files' times alone
}

// forLists refuses what a single image hasn't.
func (o ListPushOptions) forLists() error {
	for _, option := range []struct {
		name  string
		given bool
	}{
		{"all", o.ListOnly}, {"rm", o.Remove}, {"add_compression", len(o.AddCompression) > 0}, {"timestamp", o.Timestamp != nil},
	} {
		if option.given {
			return failure.New("push:", option.name, "is for lists of images, and this is a single one").
				WithHint("leave it out, or push a list: push(manifest(name, images), …)")
		}
	}
	return nil
}

// PushList copies a list of the store, with its images, to a registry or a directory.
func (b *Builder) PushList(ctx context.Context, list *ImageList, o PushOptions) (*Pushed, error) {
	name, err := b.pushTarget(&list.Image, o)
	if err != nil {
		return nil, err
	}
	ref, system, err := b.destination(name.String(), o.Access)
	if err != nil {
		return nil, err
	}
	format, err := o.listFormat(list, name.Transport)
	if err != nil {
		return nil, err
	}
	protect, err := b.protector(ctx, o.Protection, name.Transport)
	if err != nil {
		return nil, err
	}
	defer protect.Close()
	place, to, err := b.pushPlace(name, ref)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	if o.Compression.Disable && wantsCompressed(name.Transport) {
		if len(protect.signers) > 0 {
			return nil, errPlainSigned()
		}
		to = &uncompressed{to}
	}
	b.step("push " + list.label() + " to " + name.String())
	options := manifests.PushOptions{
		Store:                  b.options.Store,
		SystemContext:          system,
		ImageListSelection:     imagecopy.CopyAllImages,
		Signers:                protect.signers,
		RemoveSignatures:       o.RemoveSignatures,
		ManifestType:           format,
		AddCompression:         o.List.AddCompression,
		ForceCompressionFormat: o.Compression.forced() != nil,
		MaxRetries:             new(uint(o.Access.retries())),
		RetryDelay:             new(o.Access.retryDelay()),
		DestinationTimestamp:   o.List.Timestamp,
	}
	system.DirForceCompress = o.Compression.chosen() != nil // as buildah has it, directories get what the list's images are
	system.CompressionFormat, system.CompressionLevel = o.Compression.chosen(), o.Compression.level()
	if o.List.ListOnly {
		options.ImageListSelection = imagecopy.CopySpecificImages // none is named
	}
	lock, err := manifests.LockerForImage(options.Store, list.ID)
	if err != nil {
		return nil, explain("push", list.label(), err)
	}
	lock.Lock()
	defer lock.Unlock()
	_, stored, err := manifests.LoadFromImage(options.Store, list.ID)
	if err != nil {
		return nil, explain("push", list.label(), err)
	}
	defer b.sayRetries("push " + name.String())()
	_, sum, err := stored.Push(ctx, protect.destination(to), options)
	if err := place.finish(ctx, err); err != nil {
		return nil, explain("push", name.String(), err)
	}
	if o.List.Remove {
		if _, err := options.Store.DeleteImage(list.ID, true); err != nil {
			return nil, explain("remove", list.label(), err)
		}
	}
	return pushed(name, ref, sum, o.DigestFile)
}

// listFormat checks how a list is to be written, and returns the media type of its images' manifests, "" for those they have.
func (o PushOptions) listFormat(list *ImageList, transport string) (string, error) {
	format, err := pushFormat(o.Format)
	if err != nil {
		return "", err
	}
	if format == manifest.DockerV2Schema1SignedMediaType {
		return "", failure.New("push", list.label(), `images in the format "v2s1" can't be in a list`).
			WithHint(`use format = "v2s2" or "oci".`)
	}
	if len(o.Protection.EncryptionKeys) > 0 {
		return "", failure.New("push:", "encryption_key", "a list is pushed as it is: the library encrypts single images only").
			WithHint("push each image with its keys, and make the list of those at the registry.")
	}
	if err := o.Compression.check(o.Format, transport); err != nil {
		return "", err
	}
	for _, added := range o.List.AddCompression {
		if err := (Compression{Format: added}).check(o.Format, transport); err != nil {
			return "", err
		}
	}
	return format, nil
}
