package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.podman.io/common/libimage"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// ImagesOptions say which images of the store are listed.
type ImagesOptions struct {
	Name    string   // of one image; "" for any
	All     bool     // those in between two others of a build too
	Filters []string // the library's, "reference=app*", "dangling=true"; all must match
}

// Images lists images of the store, the youngest first.
func (b *Builder) Images(ctx context.Context, o ImagesOptions) ([]*Image, error) {
	images, err := b.images(b.system)
	if err != nil {
		return nil, err
	}
	filters := slices.Clone(o.Filters)
	if !o.All {
		filters = append(filters, "intermediate=false")
	}
	listed, err := whole(storage.ErrImageUnknown, func() ([]*libimage.Image, error) {
		return images.ListImages(ctx, &libimage.ListImagesOptions{Filters: filters})
	})
	if err != nil {
		return nil, failure.New("images", "", "%w", err).
			WithHint(`filters are "dangling=true", "label=NAME[=VALUE]", "reference=PATTERN", "before=IMAGE", "since=IMAGE", "readonly=false", ….`)
	}
	if o.Name != "" {
		named, err := b.Image(o.Name)
		if err != nil {
			return nil, err
		}
		listed = slices.DeleteFunc(listed, func(image *libimage.Image) bool { return image.ID() != named.ID })
	}
	slices.SortStableFunc(listed, func(a, b *libimage.Image) int { return b.Created().Compare(a.Created()) })
	all := make([]*Image, 0, len(listed))
	for _, image := range listed {
		now, err := b.options.Store.Image(image.ID())
		if errors.Is(err, storage.ErrImageUnknown) {
			continue // deleted meanwhile
		} else if err != nil {
			return nil, explain("images", "", err)
		}
		all = append(all, b.stored(now))
	}
	return all, nil
}

// whole lists what is in the store with a function of the library's that fails, with the error gone, when another process
// deletes some of it meanwhile.
func whole[T any](gone error, list func() (T, error)) (found T, err error) {
	for range 20 {
		if found, err = list(); !errors.Is(err, gone) {
			break
		}
	}
	return found, err
}

// ImageFacts are what the store knows of an image besides its names.
type ImageFacts struct {
	Created      time.Time
	Size         int64 // of all its layers and what is recorded of it, bytes
	ReadOnly     bool  // in an additional store, where nothing is changed
	NamesHistory []string
	Labels       map[string]string
}

// Facts returns what the store knows of the image.
func (i *Image) Facts(ctx context.Context) (facts ImageFacts, err error) {
	if i.run == nil {
		return facts, failure.New("image", i.label(), "was committed to a place outside the store, where its attributes aren't known").
			WithHint("pull it from there.")
	}
	images, err := i.run.images(i.run.system)
	if err != nil {
		return facts, err
	}
	found, _, err := images.LookupImage(i.ID, nil)
	if err != nil {
		return facts, explain("looking up", i.label(), err)
	}
	facts.Created, facts.ReadOnly, facts.NamesHistory = found.Created(), found.IsReadOnly(), found.NamesHistory()
	if facts.Size, err = found.Size(); err != nil {
		return facts, fmt.Errorf("measuring %s: %w", i.label(), err)
	}
	if facts.Labels, err = found.Labels(ctx); err != nil {
		return facts, fmt.Errorf("reading the labels of %s: %w", i.label(), err)
	}
	return facts, nil
}
