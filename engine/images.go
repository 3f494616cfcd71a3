package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.podman.io/common/libimage"

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
	listed, err := images.ListImages(ctx, &libimage.ListImagesOptions{Filters: filters})
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
	all := make([]*Image, len(listed))
	for i, image := range listed {
		if all[i], err = b.imageByID(image.ID()); err != nil {
			return nil, err
		}
	}
	return all, nil
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
