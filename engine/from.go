package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/common/pkg/config"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// FromOptions say what a working container is made of.
type FromOptions struct {
	Image          string // a name, an ID, a transport's name, or "scratch"
	Name           string // of the container; "" makes one up from the image's
	Pull           string // "missing" (also ""), "always", "newer" or "never", or another of buildah's words for them
	Platform       Platform
	Format         string   // "oci" (also "") or "docker": the format that the configuration is meant for
	DecryptionKeys []string // of an encrypted image: "FILE[:PASSWORD]" or "provider:NAME"
	Keep           bool     // survives the run
	Access         Access
	Steps          StepDefaults
	Volumes        []string // for all steps, as ParseVolume takes them
	Users          UserOptions
}

// Scratch is the name of the image that has nothing in it.
const Scratch = buildah.BaseImageFakeName

// From makes a working container.
func (b *Builder) From(ctx context.Context, o FromOptions) (*Container, error) {
	options, err := b.fromOptions(o)
	if err != nil {
		return nil, err
	}
	b.step("from_ " + o.Image)
	heard := b.sayRetries("from_ " + o.Image)
	keep, s := o.Keep || b.options.Keep, b.options.Store
	if keep {
		s = s.ForKeeps()
	}
	builder, err := pulling(ctx, b, "from_ "+o.Image, func() (*buildah.Builder, error) { return buildah.NewBuilder(ctx, s, *options) })
	heard()
	if err != nil {
		if errors.Is(err, storage.ErrDuplicateName) {
			return nil, failure.New("from_", o.Image, "a container named %q is already there", o.Name).
				WithHint("choose another name, or remove that one: remove(%q)", o.Name)
		}
		return nil, explain("from_", o.Image, err)
	}
	c := &Container{run: b, builder: builder, id: builder.ContainerID, name: builder.Container, keep: keep,
		defaults: o.Steps}
	b.mu.Lock()
	b.containers = append(b.containers, c)
	b.mu.Unlock()
	if err := b.options.Store.Refuse("from_", o.Image, c.id); err != nil {
		return nil, errors.Join(err, c.delete())
	}
	if err := cutMaps(builder); err != nil {
		return nil, errors.Join(err, c.delete())
	}
	if err := c.runTriggers(ctx); err != nil {
		return nil, errors.Join(err, c.delete())
	}
	if keep {
		if err := s.Kept(c.id); err != nil {
			return nil, err
		}
	}
	b.settle()
	return c, nil
}

// fromOptions returns what the library makes the container of.
func (b *Builder) fromOptions(o FromOptions) (*buildah.BuilderOptions, error) {
	format, err := manifestType(o.Format)
	if err != nil {
		return nil, err
	}
	image, system, err := b.source(o.Image, o.Access, o.Platform)
	if err != nil {
		return nil, err
	}
	policy, err := pullPolicy(o.Pull)
	if err != nil {
		return nil, err
	}
	decryption, err := decryption(o.DecryptionKeys)
	if err != nil {
		return nil, err
	}
	conf, err := config.Default()
	if err != nil {
		return nil, explain("reading", "containers.conf", err)
	}
	volumes, err := b.volumeTexts(o.Volumes)
	if err != nil {
		return nil, err
	}
	options := &buildah.BuilderOptions{
		FromImage:        image,
		Container:        o.Name,
		PullPolicy:       policy,
		SystemContext:    system,
		NetworkInterface: b.network(),
		Format:           format,
		OciDecryptConfig: decryption,
		MaxPullRetries:   o.Access.retries(),
		PullRetryDelay:   o.Access.retryDelay(),
		Logger:           b.options.Logger,
	}
	if err := b.setDefaults(options, conf, &o.Steps); err != nil {
		return nil, err
	}
	options.CommonBuildOpts.Volumes = volumes
	users, ids, err := o.Users.namespace()
	if err != nil {
		return nil, err
	}
	options.NamespaceOptions.AddOrReplace(users...)
	options.IDMappingOptions, options.GroupAdd = ids, o.Users.GroupAdd
	return options, nil
}

// source returns the library's name of an image to read, "scratch" included, and the context to read it with.
func (b *Builder) source(image string, a Access, p Platform) (string, *types.SystemContext, error) {
	var system *types.SystemContext
	if image == Scratch {
		var err error
		if system, err = b.systemWith(a); err != nil {
			return "", nil, err
		}
	} else {
		name, err := b.parse(image)
		if err != nil {
			return "", nil, err
		}
		if err := describedSmall(name); err != nil {
			return "", nil, err
		}
		image = name.String()
		if system, err = b.systemFor(name, a); err != nil {
			return "", nil, err
		}
	}
	system, err := p.in(system)
	return image, system, err
}

// pullPolicy returns the policy of that name, by buildah's reckoning of what the names are.
func pullPolicy(name string) (define.PullPolicy, error) {
	switch strings.ToLower(name) {
	case "", "missing", "ifmissing", "notpresent":
		return define.PullIfMissing, nil
	case "always", "true":
		return define.PullAlways, nil
	case "newer", "ifnewer":
		return define.PullIfNewer, nil
	case "never", "false":
		return define.PullNever, nil
	}
	return 0, failure.New("pull policy", fmt.Sprintf("%q", name), "is none of missing, always, newer, never")
}
