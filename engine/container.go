package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"go.podman.io/buildah"
	"go.podman.io/buildah/copier"
	"go.podman.io/buildah/define"
	"go.podman.io/common/pkg/config"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/reference"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// Container is a working container: a writable root file system on top of an image, and the configuration of the image
// it will become.
type Container struct {
	run     *Builder
	builder *buildah.Builder
	id      string
	name    string
	root    string     // where it is mounted, or ""
	files   *rootfs.FS // the mount, held open; nil when it isn't mounted
	keep    bool
	gone    bool
	adopted *adopted // what it was like before this run, if it is older; else nil

	defaults  StepDefaults              // of its run steps
	hostsFile []byte                    // /etc/hosts of its last sandboxed step,
	hostsKey  string                    // and what that was made of
	pulledUp  []copier.EnsureParentPath // see notePulledUp
	users     *sandbox.UserNamespace    // of its sandboxed steps, once it is needed; nil for rlbuild's own
	targets   *sandbox.Targets          // left in the root by its sandboxed steps; nil for none
	needed    []string                  // by the last of them
	annotated bool                      // config has named annotations
}

// ID returns the container's ID, 64 hexadecimal digits.
func (c *Container) ID() string { return c.id }

// Name returns the container's name in the store.
func (c *Container) Name() string { return c.name }

// Image returns the name of the image it was made from, the ID of one that has no name, "" for scratch.
func (c *Container) Image() string {
	id := c.builder.FromImageID
	if image, err := c.run.options.Store.Image(id); err == nil && len(image.Names) == 0 {
		return id // the library makes a name up, of the transport's
	}
	return c.builder.FromImage
}

// ImageID returns the ID of that image, "" for scratch.
func (c *Container) ImageID() string { return c.builder.FromImageID }

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
	options := buildah.BuilderOptions{
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
	if err := b.setDefaults(&options, conf, &o.Steps); err != nil {
		return nil, err
	}
	options.CommonBuildOpts.Volumes = volumes
	users, ids, err := o.Users.namespace()
	if err != nil {
		return nil, err
	}
	options.NamespaceOptions.AddOrReplace(users...)
	options.IDMappingOptions, options.GroupAdd = ids, o.Users.GroupAdd
	b.step("from_ " + o.Image)
	heard := b.sayRetries("from_ " + o.Image)
	keep, s := o.Keep || b.options.Keep, b.options.Store
	if keep {
		s = s.ForKeeps()
	}
	builder, err := stopping(ctx, b, func() (*buildah.Builder, error) { return buildah.NewBuilder(ctx, s, options) })
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
	if err := c.runTriggers(ctx); err != nil {
		return nil, errors.Join(err, c.delete())
	}
	if keep {
		if err := s.Kept(c.id); err != nil {
			return nil, err
		}
	}
	return c, nil
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
		image = name.String()
		if system, err = b.systemFor(name, a); err != nil {
			return "", nil, err
		}
	}
	system, err := p.in(system)
	return image, system, err
}

// parse parses an image name and makes the path of an archive or layout absolute, from the run's directory.
func (b *Builder) parse(text string) (reference.Name, error) {
	name, err := reference.Parse(text)
	if err != nil {
		_, rest, _ := strings.Cut(text, ":")
		at, _, _ := strings.Cut(rest, ":")
		if !filepath.IsAbs(at) {
			at = filepath.Join(b.options.Dir, at)
		}
		if k := pathCause(at, reach.Read, err); k != nil {
			return name, k.explain("image name", strconv.Quote(failure.Redact(text)), err)
		}
	}
	return name.In(b.options.Dir), err
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

// Mount mounts the container's root file system, if it isn't yet, and returns the path, which stays the same for the
// whole run.
func (c *Container) Mount() (string, error) {
	if err := c.alive("mount"); err != nil {
		return "", err
	}
	if c.root != "" {
		return c.root, nil
	}
	if err := c.run.options.Store.Refuse("mount", c.name, c.id); err != nil {
		return "", err
	}
	if c.adopted != nil {
		if err := c.refuseStrays(); err != nil {
			return "", err
		}
	}
	// Not the library's Mount, which writes its state of the container to the disk, and waits for it, only to note there
	// what the store knows.
	root, err := c.run.options.Store.Mount(c.id, c.builder.MountLabel)
	if err != nil {
		return "", explain("mount", c.name, err)
	}
	files, err := rootfs.Open(root)
	if err != nil {
		return "", errors.Join(explain("mount", c.name, err), c.unmount())
	}
	c.root, c.files, c.builder.MountPoint = root, files, root
	return root, nil
}

func (c *Container) unmount() error {
	c.builder.MountPoint = ""
	_, err := c.run.options.Store.Unmount(c.id, false)
	return err
}

// Files returns the mounted tree, or nil, without what steps' mounts needed in it. It is closed by Unmount and when the run
// ends.
func (c *Container) Files() (*rootfs.FS, error) { return c.files, c.tidy() }

// MountedAt returns the container below whose mounted root the host path lies, or nil.
func (b *Builder) MountedAt(path string) *Container {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.containers {
		if c.root != "" && reach.Within(c.root, path) {
			return c
		}
	}
	return nil
}

// Root returns where the container is mounted, or "".
func (c *Container) Root() string { return c.root }

// Unmount releases what Mount took. Unmounting a container that isn't mounted does nothing.
func (c *Container) Unmount() error {
	if err := c.alive("umount"); err != nil {
		return err
	}
	return c.release()
}

func (c *Container) release() error {
	if c.root == "" || c.gone {
		return nil
	}
	// The descriptor first: it would keep the mount, and with it overlay's upper directory, in use.
	if err := errors.Join(c.closeFiles(), c.unmount()); err != nil {
		return explain("umount", c.name, err)
	}
	return nil
}

func (c *Container) closeFiles() error {
	if c.users != nil {
		c.users.File.Close()
		c.users = nil
	}
	if c.files == nil {
		return nil
	}
	files, err := c.files, c.tidy()
	c.files, c.root = nil, ""
	return errors.Join(err, files.Close())
}

// Remove unmounts and deletes the container before the run ends.
func (c *Container) Remove() error {
	if err := c.alive("remove"); err != nil {
		return err
	}
	return c.delete()
}

func (c *Container) delete() error {
	if c.gone {
		return nil
	}
	if c.adopted != nil {
		if err := c.run.options.Store.RefuseDeletion("remove", c.name, c.id); err != nil {
			return err
		}
	}
	c.targets = nil // they go with the rest
	if err := c.closeFiles(); err != nil {
		return explain("remove", c.name, err)
	}
	if c.adopted != nil {
		if err := c.dropStrays(); err != nil {
			return explain("remove", c.name, err)
		}
	}
	// It unmounts the layer, however often it is mounted.
	if err := c.run.options.Store.DeleteContainer(c.id); err != nil && !errors.Is(err, storage.ErrContainerUnknown) {
		return explain("remove", c.name, err)
	}
	c.gone = true
	return nil
}

// leave unmounts a container that is to be kept and says how to find it.
func (c *Container) leave() error {
	if c.gone {
		return nil
	}
	if err := c.release(); err != nil {
		return err
	}
	if err := c.builder.Save(); err != nil {
		return fmt.Errorf("saving the kept container %s: %w", c.Name(), err)
	}
	c.run.options.Display.Line(fmt.Sprintf("rlbuild: kept container %s (%.12s)", c.Name(), c.ID()))
	return nil
}

// alive fails for a container that was removed.
func (c *Container) alive(verb string) error {
	if c.gone {
		return failure.New(verb, c.name, "the container was removed earlier in this script")
	}
	return nil
}
