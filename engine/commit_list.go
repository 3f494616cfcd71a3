package engine

import (
	"context"

	"go.podman.io/image/v5/manifest"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// commitList finds the list that the image is to be added to, and fails if the name is that of an image. Like buildah
// commit it makes a new one in docker's format, whatever that of the image is.
func (b *Builder) commitList(o CommitOptions) (*listEdit, error) {
	list, err := b.editList(ManifestOptions{Name: o.Manifest, Amend: true, Access: o.Access})
	if err != nil {
		return nil, err
	}
	if list.old != nil && !list.isList {
		return nil, failure.New("commit:", "manifest", "%s is an image, not a list of them", list.name).
			WithHint("give the list another name.")
	}
	list.mediaType = manifest.DockerV2ListMediaType
	return list, nil
}

// enlist adds the image, which is in the store, to the list.
func (j *commitment) enlist(ctx context.Context, image *Image) error {
	j.list.options.Entries = []ListEntry{{Image: ImageName{Image: image}}}
	_, err := j.list.save(ctx)
	return err
}
