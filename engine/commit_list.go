package engine

import (
	"context"
	"errors"

	"go.podman.io/common/libimage/manifests"
	"go.podman.io/image/v5/manifest"
	is "go.podman.io/image/v5/storage"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// listTarget is a manifest list in the store that an image is to be added to.
type listTarget struct {
	run  *Builder
	name string // its full name
	id   string // "" if it has yet to be made
}

// listTarget finds the list, and fails if the name is that of an image.
func (b *Builder) listTarget(name string) (*listTarget, error) {
	full, err := b.localName(name)
	if err != nil {
		return nil, err
	}
	t := &listTarget{run: b, name: full}
	found, err := b.options.Store.Image(full)
	if errors.Is(err, storage.ErrImageUnknown) {
		return t, nil
	} else if err != nil {
		return nil, err
	}
	t.id = found.ID
	if _, _, err := manifests.LoadFromImage(b.options.Store.Store, t.id); err != nil {
		return nil, failure.New("commit:", "manifest", "%s is an image, not a list of them", full).WithHint("give the list another name.")
	}
	return t, nil
}

// add adds an image of the store. Like buildah commit it makes a list of docker's, whatever the format of the image.
func (t *listTarget) add(ctx context.Context, image *Image) error {
	store := t.run.options.Store.Store
	list, names, mediaType := manifests.Create(), []string{t.name}, manifest.DockerV2ListMediaType
	if t.id != "" {
		lock, err := manifests.LockerForImage(store, t.id)
		if err != nil {
			return err
		}
		lock.Lock()
		defer lock.Unlock()
		if _, list, err = manifests.LoadFromImage(store, t.id); err != nil {
			return err
		}
		names, mediaType = nil, "" // as they are
	}
	ref, err := is.Transport.NewStoreReference(store, nil, image.ID)
	if err != nil {
		return err
	}
	if _, err := list.Add(ctx, t.run.system, ref, true); err != nil {
		return err
	}
	_, err = list.SaveToImage(store, t.id, names, mediaType)
	return err
}
