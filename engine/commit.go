package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/docker"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/archive"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

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
	b := c.run
	job, err := c.commitment(o)
	if err != nil {
		return nil, err
	}
	protect, err := b.protector(ctx, o.Protection, transportOf(job.dest))
	if err != nil {
		return nil, err
	}
	defer protect.Close()
	job.library.OciEncryptConfig, job.library.OciEncryptLayers = protect.encrypt, protect.layers
	b.step("commit " + c.target(o.Name))
	if err := c.tidy(); err != nil {
		return nil, explain("commit", c.name, err)
	}
	c.noteLoss(job.CommitOptions, job.library.PreferredManifestType)
	image, manifest, err := job.image(ctx)
	if err == nil {
		b.settle()
	}
	if err == nil && protect.signs() {
		err = b.sign(ctx, image, job.dest, job.library.SystemContext, protect)
	}
	if err == nil && job.list != nil {
		err = job.enlist(ctx, image)
	}
	if err != nil {
		return nil, explain("commit", c.target(o.Name), err)
	}
	if err := image.report(o, manifest); err != nil {
		return nil, err
	}
	if o.Remove {
		return image, c.delete()
	}
	return image, nil
}

// commitment is a commit whose options have been checked.
type commitment struct {
	CommitOptions
	container *Container
	dest      types.ImageReference // nil for an image in the store without a name
	library   buildah.CommitOptions
	scan      *scanning // nil without one
	list      *listEdit // nil without one
}

// commitment checks what can be checked before anything is written.
func (c *Container) commitment(o CommitOptions) (*commitment, error) {
	format, err := manifestType(o.Format)
	if err != nil {
		return nil, err
	}
	b := c.run
	if o.Times, err = o.Times.resolve(b.options.Created); err != nil {
		return nil, err
	}
	dest, system, err := b.destination(o.Name, o.Access)
	if err != nil {
		return nil, err
	}
	transport := transportOf(dest)
	stored := transport == reference.Storage
	if err := o.Compression.check(o.Format, transport); err != nil {
		return nil, err
	}
	if format == define.OCIv1ImageManifest { // the other has no choice of compressions
		if o.Compression, err = o.Compression.orUsual(transport, ""); err != nil {
			return nil, err
		}
	}
	if dest == nil && o.Protection.signs() {
		return nil, failure.New("signing", "the image", "it has no name that the signature could be for").
			WithHint("give the image a name with a tag.")
	}
	if o.Manifest != "" && !stored {
		return nil, failure.New("commit:", "manifest", "only an image in the store can be added to a list there").
			WithHint("commit it to a name in the store, and push that with the list.")
	}
	j := &commitment{CommitOptions: o, container: c, dest: dest}
	if o.Manifest != "" {
		if j.list, err = b.commitList(o); err != nil {
			return nil, err
		}
	}
	if j.library, err = o.library(format, system); err != nil {
		return nil, err
	}
	j.library.Compression = o.Compression.written(stored)
	j.library.CompressionFormat = o.Compression.chosen()
	j.library.CompressionLevel = o.Compression.level()
	j.library.ForceCompressionFormat = o.Compression.forced() != nil
	if j.library.ExtraImageContent, err = b.stage(o.AddFiles); err != nil {
		return nil, err
	}
	j.scan, err = b.scanning(o.Scan)
	return j, err
}

// image makes the image, the fast way if that can make it, and returns it with its manifest as it was written.
func (j *commitment) image(ctx context.Context) (image *Image, manifest []byte, err error) {
	c := j.container
	defer c.borrow()()
	c.identify(j.CommitOptions)
	if c.run.options.CommitMethod != libraryMethod {
		image, manifest, err = j.ownWay(ctx)
		var why notDirect
		if !errors.As(err, &why) {
			return image, manifest, err
		}
		if err := c.run.slowCommit(why); err != nil {
			return nil, nil, err
		}
	}
	return j.placed(ctx, func() (*Image, []byte, error) { return j.byLibrary(ctx) })
}

// placed has the image written to a neighbour of its place, if that is a file or a directory.
func (j *commitment) placed(ctx context.Context, write func() (*Image, []byte, error)) (*Image, []byte, error) {
	if j.Name == "" {
		return write()
	}
	name, err := j.container.run.parse(j.Name)
	if err != nil {
		return nil, nil, err
	}
	place, err := j.container.run.place(name, "")
	if err != nil {
		return nil, nil, err
	}
	defer place.Close()
	defer func(dest types.ImageReference) { j.dest = dest }(j.dest)
	if j.dest, err = place.ref(j.dest); err != nil {
		return nil, nil, err
	}
	image, manifest, err := write()
	return image, manifest, place.finish(ctx, err)
}

// ownWay makes the image without the library's temporary files, or fails with a notDirect.
func (j *commitment) ownWay(ctx context.Context) (*Image, []byte, error) {
	if err := j.container.onlyLibrary(j.CommitOptions); err != nil {
		return nil, nil, err
	}
	if transportOf(j.dest) == reference.Storage {
		return j.fast(ctx)
	}
	return j.placed(ctx, func() (*Image, []byte, error) { return j.ship(ctx) })
}

// givesUp reports whether the container's files may become the layer's: it is deleted next, before anybody writes to them. One
// that would outlive a run that is killed before that isn't given up: its files would be the image's as well.
func (j *commitment) givesUp() bool {
	return j.Remove && !j.container.keep && j.container.adopted == nil && j.list == nil && j.IDFile == nil && j.MetadataFile == nil && !j.Protection.signs()
}

// report writes the files that say what image came of a commit.
func (i *Image) report(o CommitOptions, written []byte) error {
	if err := writeOut("commit", "iidfile", o.IDFile, []byte("sha256:"+i.ID)); err != nil {
		return err
	}
	metadata, err := json.Marshal(map[string]any{
		docker.ExporterImageConfigDigestKey: "sha256:" + i.ID,
		docker.ExporterImageDescriptorKey: v1.Descriptor{
			MediaType: manifest.GuessMIMEType(written), Digest: digest.FromBytes(written), Size: int64(len(written)),
		},
		docker.ExporterImageDigestKey: digest.FromBytes(written),
	})
	if err != nil {
		return err
	}
	return writeOut("commit", "metadata_file", o.MetadataFile, metadata)
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

func (j *commitment) byLibrary(ctx context.Context) (*Image, []byte, error) {
	c := j.container
	dest := j.dest
	if j.Compression.Disable && transportOf(dest) == reference.Registry {
		dest = &uncompressed{dest}
	}
	results, err := stopping(ctx, c.run, func() (*buildah.CommitResults, error) {
		if j.scan != nil {
			return j.scan.run(ctx, c, dest, j.library)
		}
		return c.builder.CommitResults(ctx, dest, j.library)
	})
	if err != nil {
		return nil, nil, err
	}
	if transportOf(j.dest) == reference.Storage {
		image, err := c.run.imageByID(results.ImageID)
		return image, results.ImageManifest, err
	}
	return &Image{ID: results.ImageID, Digest: results.Digest.String(), Names: []string{j.Name}}, results.ImageManifest, nil
}

// written is how the library writes layers: as they are to the store, which unpacks them at once, and compressed to all
// places that keep them or send them on, with gzip if no format is chosen.
func (c Compression) written(stored bool) archive.Compression {
	if stored || c.Disable {
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
