package engine

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	dockerref "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/archive"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// CommitOptions say what image a container becomes.
type CommitOptions struct {
	Name   string // a name in the store, a name at a transport, or "" for a nameless image in the store
	Format string // "oci" (also "") or "docker"
	Squash bool   // one layer, the base image's included
	Remove bool   // the container isn't needed any more

	Compression Compression // of the layers, for a name at a transport
	Access      Access
}

// CommitMethods lists what Options.CommitMethod can be. Fast makes an image in one pass over the container's files; library
// leaves it to buildah's.
func CommitMethods() []string { return []string{fastMethod, libraryMethod} }

const (
	fastMethod    = "fast"
	libraryMethod = "library"
)

// Commit writes the container's files and configuration as an image. The container stays as it is and can go on, unless
// it is to be removed.
func (c *Container) Commit(ctx context.Context, o CommitOptions) (*Image, error) {
	if err := c.alive("commit"); err != nil {
		return nil, err
	}
	format, err := manifestType(o.Format)
	if err != nil {
		return nil, err
	}
	b := c.run
	dest, system, err := b.destination(o.Name, o.Access)
	if err != nil {
		return nil, err
	}
	transport := transportOf(dest)
	stored := transport == reference.Storage
	if err := o.Compression.check(o.Format, transport); err != nil {
		return nil, err
	}
	b.step("commit " + c.target(o.Name))
	if err := c.tidy(); err != nil {
		return nil, explain("commit", c.name, err)
	}
	if b.options.Created == nil {
		c.builder.SetLabel(buildah.BuilderIdentityAnnotation, define.Version) // as buildah commit does
	}
	library := buildah.CommitOptions{
		PreferredManifestType:  format,
		Compression:            compression(stored),
		CompressionFormat:      o.Compression.chosen(),
		CompressionLevel:       o.Compression.level(),
		ForceCompressionFormat: o.Compression.forced() != nil,
		SystemContext:          system,
		Squash:                 o.Squash,
		SourceDateEpoch:        b.options.Created,
		MaxRetries:             o.Access.retries(),
		RetryDelay:             o.Access.retryDelay(),
	}
	var image *Image
	if b.options.CommitMethod != libraryMethod {
		if stored {
			image, err = c.commitFast(ctx, dest, o.Remove, library)
		} else {
			image, err = c.ship(ctx, dest, o, library)
		}
		var why notDirect
		if errors.As(err, &why) {
			image, err = nil, b.slowCommit(why)
		}
	}
	if image == nil && err == nil {
		image, err = c.commitByLibrary(ctx, dest, stored, o.Name, library)
	}
	if err != nil {
		return nil, explain("commit", c.target(o.Name), err)
	}
	if o.Remove {
		return image, c.delete()
	}
	return image, nil
}

// commitFast makes an image in the store without a copy of the layer on the way. It fails with a notDirect, before it has
// done anything, where only the library can make the image.
func (c *Container) commitFast(ctx context.Context, dest types.ImageReference, giveUp bool, o buildah.CommitOptions) (*Image, error) {
	if o.Squash {
		return nil, notDirect("squashing reads the layers below too")
	}
	if dest != nil {
		if _, digested := dest.DockerReference().(dockerref.Digested); digested {
			return nil, notDirect("the image's name has a digest in it")
		}
	}
	changes, err := c.changes()
	if err != nil {
		return nil, err
	}
	plan, err := c.blueprint(ctx, o)
	if errors.Is(err, errNoBlueprint) {
		return nil, notDirect(err.Error())
	} else if err != nil {
		return nil, err
	}
	parent := ""
	if below := len(plan.base); below > 0 {
		parent = plan.base[below-1].ID
	}
	made, err := c.storeLayer(ctx, changes, parent, giveUp)
	if err != nil {
		return nil, err
	}
	layers, err := plan.baseDescriptors()
	if err != nil {
		return nil, err
	}
	mediaType, err := plan.mediaType(archive.Uncompressed)
	if err != nil {
		return nil, err
	}
	config, manifest, err := plan.image(made.diffID, append(layers, v1.Descriptor{MediaType: mediaType, Digest: made.diffID, Size: made.size}))
	if err != nil {
		return nil, err
	}
	id, err := c.run.createImage(config, manifest, made.id, dest)
	if err != nil {
		return nil, err
	}
	return c.run.imageByID(id)
}

// slowCommit says, once for each reason, why a commit is left to the library, or fails if the user insists on the fast way.
func (b *Builder) slowCommit(why notDirect) error {
	if b.options.CommitMethod == fastMethod {
		return failure.New("commit method", fastMethod, "can't be had: %w", why).WithKind(failure.Machine).
			WithHint("leave the choice to rlbuild, without --commit-method.")
	}
	if !b.slow[why] {
		b.slow[why] = true
		b.options.Info("commits are made by the library: " + why.Error())
	}
	return nil
}

func (c *Container) commitByLibrary(ctx context.Context, dest types.ImageReference, stored bool, name string, o buildah.CommitOptions) (*Image, error) {
	results, err := c.builder.CommitResults(ctx, dest, o)
	if err != nil {
		return nil, err
	}
	if stored {
		return c.run.imageByID(results.ImageID)
	}
	return &Image{ID: results.ImageID, Digest: results.Digest.String(), Names: []string{name}}, nil
}

// compression is how the library writes layers: as they are to the store, which unpacks them at once, and compressed to
// all places that keep them or send them on.
func compression(stored bool) archive.Compression {
	if stored {
		return archive.Uncompressed
	}
	return archive.Gzip
}

// transportOf names the transport that an image is committed to.
func transportOf(dest types.ImageReference) string {
	if dest == nil {
		return reference.Storage
	}
	return dest.Transport().Name()
}

// target is how messages name a commit.
func (c *Container) target(name string) string {
	if name == "" {
		return c.name
	}
	return fmt.Sprintf("%s to %s", c.name, name)
}

// destination resolves the name of an image to be written. No name is a nil reference.
func (b *Builder) destination(text string, a Access) (types.ImageReference, *types.SystemContext, error) {
	if text == "" {
		system, err := b.systemWith(a)
		return nil, system, err
	}
	name, err := b.parse(text)
	if err == nil {
		err = name.Writable()
	}
	if err != nil {
		return nil, nil, err
	}
	system, err := b.systemFor(name, a)
	if err != nil {
		return nil, nil, err
	}
	if name.Transport == "" || name.Transport == reference.Storage {
		ref, err := b.storageRef(text)
		return ref, system, err
	}
	ref, err := name.Ref()
	if err != nil {
		return nil, nil, failure.New("image name", fmt.Sprintf("%q", text), "%w", err)
	}
	return ref, system, nil
}

func manifestType(format string) (string, error) {
	switch format {
	case "", "oci":
		return define.OCIv1ImageManifest, nil
	case "docker":
		return define.Dockerv2ImageManifest, nil
	}
	return "", failure.New("image format", fmt.Sprintf("%q", format), `is neither "oci" nor "docker"`)
}
