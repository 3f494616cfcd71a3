package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/buildah/define"
	"go.podman.io/common/libimage"
	"go.podman.io/common/pkg/config"
	dockerref "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// PushOptions say where an image or a list of images is sent, and how it is written there.
type PushOptions struct {
	Dest        string // a name at a transport; without one a registry is meant; "" is the image's own first name
	Format      string // "oci", "docker" (also "v2s2"), "v2s1", or "" for the one it has
	Compression Compression
	Protection  Protection
	Access      Access

	RemoveSignatures bool    // leave out the signatures that the image has in the store
	DigestFile       *Source // is written the digest; nil for none

	List ListPushOptions // for lists only
}

// Pushed is what became of a push.
type Pushed struct {
	Digest    string // of the manifest as it was written, "sha256:…"
	Reference string // by which it can be had again; with the digest where the transport has such names
}

// Push copies an image of the store to a registry, an archive or a directory.
func (b *Builder) Push(ctx context.Context, image *Image, o PushOptions) (*Pushed, error) {
	if !image.Stored {
		return nil, failure.New("push", image.label(), "the image was committed to a place outside the store").
			WithHint("commit it to a name in the store first, then push it from there.")
	}
	if err := o.List.forLists(); err != nil {
		return nil, err
	}
	name, err := b.pushTarget(image, o)
	if err != nil {
		return nil, err
	}
	ref, system, err := b.destination(name.String(), o.Access)
	if err != nil {
		return nil, err
	}
	format, err := pushFormat(o.Format)
	if err != nil {
		return nil, err
	}
	if err := o.Compression.check(o.Format, name.Transport); err != nil {
		return nil, err
	}
	if o.Compression, err = o.Compression.orUsual(name.Transport, format); err != nil {
		return nil, err
	}
	protect, err := b.protector(ctx, o.Protection, name.Transport)
	if err != nil {
		return nil, err
	}
	defer protect.Close()
	system.DirForceCompress = !o.Compression.Disable // directories take them either way
	b.step("push " + image.label() + " to " + name.String())
	options := &libimage.PushOptions{CopyOptions: libimage.CopyOptions{
		CompressionFormat:      o.Compression.chosen(),
		CompressionLevel:       o.Compression.level(),
		ForceCompressionFormat: o.Compression.forced() != nil,
		ManifestMIMEType:       format,
		MaxRetries:             new(uint(o.Access.retries())),
		RetryDelay:             new(o.Access.retryDelay()),
		OciEncryptConfig:       protect.encrypt,
		OciEncryptLayers:       protect.layers,
		Signers:                protect.signers,
		RemoveSignatures:       o.RemoveSignatures,
		PolicyAllowStorage:     true, // as buildah has it: what the policy says of the store is for reading images to run
	}}
	if err := b.shortcuts(image, name.Transport, o, protect, options); err != nil {
		return nil, explain("push", image.label(), err)
	}
	images, err := b.images(system)
	if err != nil {
		return nil, err
	}
	place, to, err := b.pushPlace(name, ref)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	heard := b.sayRetries("push " + name.String())
	written, err := stopping(ctx, b, func() ([]byte, error) {
		return images.Push(ctx, b.sourceName(image, name.Transport), to.Transport().Name()+":"+to.StringWithinTransport(), options)
	})
	heard()
	if err := place.finish(ctx, err); err != nil {
		return nil, explain("push", name.String(), err)
	}
	sum, err := manifest.Digest(written)
	if err != nil {
		return nil, explain("push", name.String(), err)
	}
	return pushed(name, ref, sum, o.DigestFile)
}

// pushPlace returns the place of an image that is pushed to name, which is ref, and what the library writes to instead.
func (b *Builder) pushPlace(name reference.Name, ref types.ImageReference) (*placing, types.ImageReference, error) {
	place, err := b.place(name, "")
	if err != nil {
		return nil, nil, explain("push", name.String(), err)
	}
	to, err := place.ref(ref)
	if err != nil {
		place.Close()
		return nil, nil, explain("push", name.String(), err)
	}
	return place, to, nil
}

// sourceName is how the library is told which image is pushed. By its name it is noted in a docker-archive.
func (b *Builder) sourceName(image *Image, transport string) string {
	if transport == dockerArchive && len(image.Names) > 0 {
		if now, err := b.options.Store.Image(image.Names[0]); err == nil && now.ID == image.ID {
			return image.Names[0]
		}
	}
	return image.ID
}

// shortcuts has layers sent as they are read, and only those that a registry hasn't got, and the destination wrapped as
// the options need it. The library takes no sigstore signatures through anything but its own sources and destinations,
// so an image that has some, or is to get one, goes the library's way.
func (b *Builder) shortcuts(image *Image, transport string, o PushOptions, protect *protector, options *libimage.PushOptions) error {
	stored, err := b.options.Store.Image(image.ID)
	if err != nil {
		return err
	}
	has := func(data string) bool { return strings.HasPrefix(data, "signature") } // "signatures", "signature-DIGEST"
	signed := slices.ContainsFunc(stored.BigDataNames, has) && !o.RemoveSignatures
	if !signed {
		options.SourceLookupReferenceFunc = func(ref types.ImageReference) (types.ImageReference, error) {
			return &streaming{ImageReference: ref, store: b.options.Store, top: stored.TopLayer}, nil
		}
	}
	plain := o.Compression.Disable && wantsCompressed(transport)
	known := transport == reference.Registry && protect.encrypt == nil && o.Compression.plainFormat() && !plain
	if signed || len(protect.signers) > 0 {
		if plain {
			return errPlainSigned()
		}
		if protect.gpg == nil {
			return nil
		}
		known = false
	}
	if known {
		options.ForceCompressionFormat = false // the wrapped destination sees to that
	}
	options.DestinationLookupReferenceFunc = func(ref types.ImageReference) (types.ImageReference, error) {
		if plain {
			ref = &uncompressed{ref}
		}
		if known {
			var err error
			if ref, err = b.thrifty(image, ref, o.Compression.forced()); err != nil {
				return nil, err
			}
		}
		return protect.destination(ref), nil
	}
	return nil
}

// errPlainSigned refuses what would need a wrapping that the library takes no sigstore signatures through.
func errPlainSigned() error {
	return failure.New("", "disable_compression", "can't be had for an image that has signatures, or gets one of sigstore's").
		WithHint("leave out one of them; remove_signatures = True leaves out those that the image has.")
}

// pushTarget is the name that an image or a list is pushed to.
func (b *Builder) pushTarget(image *Image, o PushOptions) (reference.Name, error) {
	dest := o.Dest
	if dest == "" {
		if len(image.Names) == 0 {
			return reference.Name{}, failure.New("push", image.label(), "the image has no name that says where to").
				WithHint(`say where to: push(image, "docker://registry.example/name:tag")`)
		}
		dest = image.Names[0]
		if strings.HasPrefix(dest, "localhost/") {
			return reference.Name{}, failure.New("push", dest, "the image's own name leads to no registry").
				WithHint(`say where to: push(image, "docker://registry.example/name:tag")`)
		}
	}
	name, err := b.parse(dest)
	if err == nil && name.Transport == "" {
		name.Transport = reference.Registry
	}
	return name, err
}

// pushed describes what was written, and notes its digest in the file that was asked for.
func pushed(name reference.Name, ref types.ImageReference, sum digest.Digest, digestFile *Source) (*Pushed, error) {
	if err := writeOut("push", "digestfile", digestFile, []byte(sum)); err != nil {
		return nil, err
	}
	p := &Pushed{Digest: sum.String(), Reference: name.String()}
	if name.Transport == reference.Registry {
		exact, err := dockerref.WithDigest(dockerref.TrimNamed(ref.DockerReference()), sum)
		if err != nil {
			return nil, fmt.Errorf("naming %s by its digest: %w", name, err)
		}
		p.Reference = exact.String()
	}
	return p, nil
}

// pushFormat is the media type of the manifest that is asked for, "" for the one that the image has.
func pushFormat(format string) (string, error) {
	switch format {
	case "":
		return "", nil
	case "oci":
		return define.OCIv1ImageManifest, nil
	case "v2s1":
		return manifest.DockerV2Schema1SignedMediaType, nil
	case "v2s2", "docker":
		return define.Dockerv2ImageManifest, nil
	}
	return "", failure.New("image format", fmt.Sprintf("%q", format), `is none of "oci", "docker", "v2s2" and "v2s1"`)
}

// orUsual is the compression with what containers.conf has for what isn't said, where the place takes it.
func (c Compression) orUsual(transport, manifestType string) (Compression, error) {
	if c.Disable || transport == reference.Storage || plainOnly(transport) {
		return c, nil
	}
	conf, err := config.Default()
	if err != nil {
		return c, failure.New("reading", "containers.conf", "%w", err)
	}
	usual := conf.Engine.CompressionFormat
	if oci := manifestType == "" || manifestType == define.OCIv1ImageManifest; c.Format == "" && oci && levels[usual] > 0 && usual != c.format() {
		c.Format = usual
	}
	if level := conf.Engine.CompressionLevel; level != nil && c.Level == 0 && *level <= levels[c.format()] {
		c.Level = *level
	}
	return c, nil
}
