package engine

import (
	"context"
	"errors"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	dockerref "go.podman.io/image/v5/docker/reference"
	"go.podman.io/storage/pkg/archive"

	"github.com/rlbuild/rlbuild/engine/layer"
)

// fast makes an image in the store without a copy of the layer on the way. It fails with a notDirect, before it has
// done anything, where only the library can make the image.
func (j *commitment) fast(ctx context.Context) (image *Image, manifest []byte, err error) {
	c := j.container
	if j.dest != nil {
		if _, digested := j.dest.DockerReference().(dockerref.Digested); digested {
			return nil, nil, notDirect("the image's name has a digest in it")
		}
	}
	changes, err := c.changes(j.Times)
	if err != nil {
		return nil, nil, err
	}
	plan, err := c.blueprint(ctx, j.library)
	if errors.Is(err, errNoBlueprint) {
		return nil, nil, notDirect(err.Error())
	} else if err != nil {
		return nil, nil, err
	}
	parent := ""
	if below := len(plan.base); below > 0 {
		parent = plan.base[below-1].ID
	}
	release, err := c.run.options.Store.Reserve()
	if err != nil {
		return nil, nil, err
	}
	defer release()
	if mounted := c.root != ""; mounted {
		defer func() {
			if err != nil && c.root == "" { // given up for nothing: it is what it was
				_, _ = c.Mount() // else whoever needs it next mounts it, or says why not
			}
		}()
	}
	made, err := c.storeLayer(ctx, changes, parent, j.givesUp())
	if errors.Is(err, layer.ErrReserved) {
		return nil, nil, notDirect(err.Error())
	} else if err != nil {
		return nil, nil, err
	}
	defer made.unlock()
	id, manifest, err := j.enter(plan, made, release)
	if err != nil {
		release()
		return nil, nil, errors.Join(err, c.run.dropLayer(made))
	}
	image, err = c.run.imageByID(id)
	return image, manifest, err
}

// enter makes an image of the plan with the layer on top. It calls free where there is no room.
func (j *commitment) enter(plan *blueprint, made *storedLayer, free func()) (id string, description []byte, err error) {
	layers, err := plan.baseDescriptors()
	if err != nil {
		return "", nil, err
	}
	mediaType, err := plan.mediaType(archive.Uncompressed)
	if err != nil {
		return "", nil, err
	}
	config, description, err := plan.image(made.diffID, append(layers, v1.Descriptor{MediaType: mediaType, Digest: made.diffID, Size: made.size}))
	if err != nil {
		return "", nil, err
	}
	id, err = j.container.run.createImage(config, description, made.id, j.dest, free)
	return id, description, err
}
