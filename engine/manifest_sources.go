package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.podman.io/common/libimage/manifests"
	"go.podman.io/image/v5/docker"
	dockerref "go.podman.io/image/v5/docker/reference"
	is "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// imageSource is where an image is read from: the store, if it is there, else a registry, unless its name says where.
func (b *Builder) imageSource(n ImageName, a Access) (types.ImageReference, *types.SystemContext, error) {
	if image := n.Image; image != nil && !image.Stored {
		n = ImageName{Text: image.Names[0]}
	} else if image != nil {
		return b.storedSource(image, a)
	}
	name, err := b.parse(n.Text)
	if err != nil {
		return nil, nil, err
	}
	if name.Transport == "" || name.Transport == reference.Storage {
		image, err := b.Image(n.Text)
		if err == nil {
			return b.storedSource(image, a)
		} else if name.Transport == reference.Storage {
			return nil, nil, err
		}
		name.Transport = reference.Registry
		if name.Host() == "localhost" {
			return nil, nil, err // the store's own names lead to no registry
		}
	}
	system, err := b.systemFor(name, a)
	if err != nil {
		return nil, nil, err
	}
	ref, err := name.Ref()
	if err != nil {
		return nil, nil, failure.New("image name", fmt.Sprintf("%q", n.Text), "%w", err)
	}
	return ref, system, nil
}

// storedSource is an image of the store by its ID, which it keeps.
func (b *Builder) storedSource(image *Image, a Access) (types.ImageReference, *types.SystemContext, error) {
	system, err := b.systemWith(a)
	if err != nil {
		return nil, nil, err
	}
	ref, err := is.Transport.NewStoreReference(b.options.Store, nil, image.ID)
	return ref, system, err
}

// instancesData is where a list of the store keeps which image each of its digests is: a JSON object of references.
const instancesData = "instances.json"

// stored puts all images of a list of the store into this one.
func (e *listEdit) stored(ctx context.Context, from *ImageList) ([]digest.Digest, error) {
	data, err := e.run.options.Store.ImageBigData(from.ID, instancesData)
	if err != nil {
		return nil, err
	}
	var places map[digest.Digest]string
	if err := json.Unmarshal(data, &places); err != nil {
		return nil, fmt.Errorf("reading where the images of %s are: %w", from.label(), err)
	}
	_, list, err := manifests.LoadFromImage(e.run.options.Store, from.ID)
	if err != nil {
		return nil, err
	}
	var sums []digest.Digest
	for i, instance := range list.OCIv1().Manifests {
		place, known := places[instance.Digest]
		if !known {
			return nil, fmt.Errorf("%s of %s is an artefact, and a list doesn't say what it was made of: name its files", instance.Digest, from.label())
		}
		ref, err := exactly(place, instance.Digest)
		if err != nil {
			return nil, err
		}
		system, err := e.run.systemWith(e.options.Access)
		if err != nil {
			return nil, err
		}
		if named := ref.DockerReference(); named != nil && ref.Transport().Name() == reference.Registry {
			if system, err = e.run.systemFor(reference.Name{Transport: reference.Registry, Rest: named.String()}, e.options.Access); err != nil {
				return nil, err
			}
		}
		sum, err := e.list.Add(ctx, system, ref, false)
		if err != nil {
			return nil, fmt.Errorf("adding %s of %s: %w", instance.Digest, from.label(), err)
		}
		entry := ListEntry{Annotations: instance.Annotations, Features: list.Docker().Manifests[i].Platform.Features}
		if p := instance.Platform; p != nil {
			entry.OS, entry.Arch, entry.Variant, entry.OSVersion, entry.OSFeatures = p.OS, p.Architecture, p.Variant, p.OSVersion, p.OSFeatures
		}
		if err := e.set(sum, entry); err != nil {
			return nil, err
		}
		sums = append(sums, sum)
	}
	return sums, nil
}

// exactly is the place of an instance. At a registry it may be the list that it is in.
func exactly(place string, sum digest.Digest) (types.ImageReference, error) {
	ref, err := alltransports.ParseImageName(place)
	if err != nil || ref.Transport().Name() != reference.Registry {
		return ref, err
	}
	name, err := dockerref.WithDigest(dockerref.TrimNamed(ref.DockerReference()), sum)
	if err != nil {
		return nil, err
	}
	return docker.NewReference(name)
}
