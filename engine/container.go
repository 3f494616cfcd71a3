package engine

import (
	"errors"
	"fmt"

	"go.podman.io/buildah"
	"go.podman.io/buildah/copier"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
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
