package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// createImage enters an image on a layer of the store, with all that the library's own destination records of one
// (CommitWithOptions in storage_dest.go of image), and moves the name to it. It returns the image's ID. Where there is no room
// it calls free and tries once more. An image that gets no name is gone again, with the layer.
func (b *Builder) createImage(config, description []byte, topLayer string, dest types.ImageReference, free func()) (id string, err error) {
	store := b.options.Store
	configDigest := digest.FromBytes(config)
	manifestDigest, err := manifest.Digest(description)
	if err != nil {
		return "", err
	}
	var born struct{ Created time.Time }
	if err := json.Unmarshal(config, &born); err != nil {
		return "", fmt.Errorf("reading the image's time: %w", err)
	}
	o := &storage.ImageOptions{
		CreationDate: born.Created,
		Metadata:     "{}", // of signatures, which a new image has none of
		BigData: []storage.ImageBigDataOption{
			{Key: configDigest.String(), Data: config, Digest: configDigest},
			{Key: storage.ImageDigestManifestBigDataNamePrefix + "-" + manifestDigest.String(), Data: description, Digest: manifestDigest},
			{Key: storage.ImageDigestBigDataKey, Data: description, Digest: manifestDigest},
		},
	}
	// The name comes last, when all of the image is there: whoever has the name has an image.
	var image *storage.Image
	made := false
	err = withRoom(free, func() (err error) {
		image, err = store.CreateImage(configDigest.Encoded(), nil, topLayer, "", o)
		made = made || err == nil || noRoom(err) // of which something may stay
		if errors.Is(err, storage.ErrDuplicateID) {
			image, err = b.refreshImage(configDigest.Encoded(), topLayer, o)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("entering the image: %w", err)
	}
	if dest == nil || dest.DockerReference() == nil {
		return image.ID, nil
	}
	if err := withRoom(free, func() error { return store.AddNames(image.ID, []string{dest.DockerReference().String()}) }); err != nil {
		err = fmt.Errorf("naming the image: %w", err)
		if made {
			_, deleted := store.DeleteImage(image.ID, true)
			err = errors.Join(err, deleted)
		}
		return "", err
	}
	return image.ID, nil
}

// withRoom does something, and once more after free if there was no room for it.
func withRoom(free func(), do func() error) error {
	err := do()
	if !noRoom(err) {
		return err
	}
	free()
	return do()
}

func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// refreshImage writes what is recorded of an image that is there already: the manifest may differ for the same configuration.
func (b *Builder) refreshImage(id, topLayer string, o *storage.ImageOptions) (*storage.Image, error) {
	store := b.options.Store
	image, err := store.Image(id)
	if err != nil {
		return nil, err
	}
	if image.TopLayer != topLayer {
		return nil, fmt.Errorf("image %s is there with other layers: %w", id, storage.ErrDuplicateID)
	}
	for _, data := range o.BigData {
		if err := store.SetImageBigData(id, data.Key, data.Data, manifest.Digest); err != nil {
			return nil, fmt.Errorf("saving %s: %w", data.Key, err)
		}
	}
	return image, store.SetMetadata(id, o.Metadata)
}
