package engine

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// built describes what was built.
func (b *build) built(ctx context.Context, id string) (*Built, error) {
	if b.listed {
		images, err := b.listedImages(ctx, id)
		return &Built{Images: images, Many: true}, err
	}
	if name, outside := b.outside(); outside {
		return &Built{Images: []*Image{{ID: id, Digest: b.writtenDigest(), Names: []string{name}}}}, nil
	}
	image, err := b.run.imageByID(id)
	if err != nil {
		return nil, err
	}
	return &Built{Images: []*Image{image}}, nil
}

// outside tells whether the image is written to a place outside the store, and its name there.
func (b *build) outside() (name string, outside bool) {
	if len(b.options.Image.Tags) == 0 {
		return "", false
	}
	parsed, err := b.run.parse(b.options.Image.Tags[0])
	return parsed.String(), err == nil && parsed.Transport != "" && parsed.Transport != reference.Storage
}

// writtenDigest returns the digest of the manifest that was written outside the store, "" if the library didn't say.
func (b *build) writtenDigest() string {
	var written struct {
		Digest string `json:"containerimage.digest"`
	}
	text, err := os.ReadFile(b.library.MetadataFile)
	if err != nil || json.Unmarshal(text, &written) != nil {
		return ""
	}
	return written.Digest
}

// listedImages returns the images that were gathered in the build's own list, in the list's order, and deletes that.
func (b *build) listedImages(ctx context.Context, id string) (images []*Image, err error) {
	defer func() {
		_, deleteErr := b.run.options.Store.DeleteImage(id, true)
		err = errors.Join(err, deleteErr)
	}()
	runtime, err := b.run.images(b.run.system)
	if err != nil {
		return nil, err
	}
	list, err := runtime.LookupManifestList(id)
	if err != nil {
		return nil, explain("build", b.subject, err)
	}
	described, err := list.Inspect()
	if err != nil {
		return nil, explain("build", b.subject, err)
	}
	for _, instance := range described.Manifests {
		stored, err := b.run.options.Store.ImagesByDigest(instance.Digest)
		if err != nil || len(stored) == 0 {
			return nil, failure.New("build", b.subject, "the image for %s isn't in the store", instance.Platform.Architecture)
		}
		image, err := b.run.imageByID(stored[0].ID)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, ctx.Err()
}
