package engine

import (
	"context"
	"errors"

	"go.podman.io/common/libimage"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// RemoveContainer deletes a container by name or ID: one of this run, or one that buildah or an earlier run left. It
// returns false if there is none. Containers of podman are left alone.
func (b *Builder) RemoveContainer(name string) (bool, error) {
	c, err := b.Container(name)
	if errors.Is(err, errNoContainer) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, c.delete()
}

// RemoveImage deletes an image, with all its names, from the store. Containers that are made from it are in the way, and
// deleted only by force.
func (b *Builder) RemoveImage(ctx context.Context, image *Image, force bool) error {
	if !force {
		containers, err := b.containersOf(image.ID)
		if err != nil {
			return err
		}
		if len(containers) > 0 {
			return inUse(image.label())
		}
	}
	// The parents stay, whether they have names or not: the script may hold them.
	err := b.removeImage(ctx, image.ID, libimage.RemoveImagesOptions{Force: true, NoPrune: true})
	return explained("remove", image.label(), err)
}

// RemoveImageNamed deletes the image of that name or ID as `buildah rmi` does: of an image with several names only that
// one goes, by its ID such an image is deleted only by force, and nameless parents go with it.
func (b *Builder) RemoveImageNamed(ctx context.Context, name string, force bool) error {
	known, err := b.storeName(name)
	if err != nil {
		return err
	}
	err = b.removeImage(ctx, known, libimage.RemoveImagesOptions{Force: force})
	if errors.Is(err, storage.ErrImageUsedByContainer) {
		if _, gone := b.Image(name); gone != nil {
			return nil // it was a parent that is in use, and stays
		}
		return inUse(name)
	}
	return explained("remove", name, err)
}

// removeImage has the library delete an image.
func (b *Builder) removeImage(ctx context.Context, name string, o libimage.RemoveImagesOptions) error {
	images, err := b.images(b.system)
	if err != nil {
		return err
	}
	if image, err := b.Image(name); err == nil {
		if err := b.options.Store.RefuseImageDeletion("remove", image.label(), image.ID, o.Force); err != nil {
			return err
		}
	}
	o.RemoveContainerFunc = b.removeContainersOf
	_, errs := images.RemoveImages(ctx, []string{name}, &o)
	return errors.Join(errs...)
}

// explained is explain for an error that may be nil.
func explained(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	return explain(op, subject, err)
}

func inUse(image string) error {
	return failure.New("remove", image, "%w", storage.ErrImageUsedByContainer).
		WithHint("remove the containers that are based on it first, or with it: force = True")
}

// removeContainersOf deletes those containers of this run that are made from an image. The library deletes the others.
func (b *Builder) removeContainersOf(imageID string) error {
	containers, err := b.containersOf(imageID)
	if err != nil {
		return err
	}
	for _, id := range containers {
		if c := b.known(id); c != nil {
			if err := c.delete(); err != nil {
				return err
			}
		}
	}
	return nil
}

// containersOf returns the IDs of the containers that are made from an image.
func (b *Builder) containersOf(imageID string) ([]string, error) {
	all, err := b.options.Store.Containers()
	if err != nil {
		return nil, explain("looking up", "the store's containers", err)
	}
	var ids []string
	for _, container := range all {
		if container.ImageID == imageID {
			ids = append(ids, container.ID)
		}
	}
	return ids, nil
}
