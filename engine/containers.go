package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/journal"
)

// adopted is what a container was like that an earlier run, or buildah, left in the store.
type adopted struct {
	mountPoint string // where others have it mounted, or ""
	state      []byte // as the library saves it
}

// Found is a container of the store.
type Found struct {
	ID, Name string
	Image    string     // the first name of the image that it was made from; "scratch" if there is none
	ImageID  string     // "" for scratch
	Working  *Container // nil for a container of another tool, podman for one
}

// ContainersOptions say which containers are listed.
type ContainersOptions struct {
	Name    string   // a container's name or ID; "" for any
	All     bool     // those of other tools too
	Filters []string // buildah's: "id=", "name=" or "ancestor="; all must match
}

// Containers lists the containers of the store: those of this run, and those that buildah or an earlier run left there, which
// this run may use but neither deletes nor changes of its own accord.
func (b *Builder) Containers(o ContainersOptions) ([]Found, error) {
	matches, err := containerFilter(o.Filters)
	if err != nil {
		return nil, err
	}
	builders, err := whole(storage.ErrContainerUnknown, func() ([]*buildah.Builder, error) {
		return buildah.OpenAllBuilders(b.options.Store)
	})
	if err != nil {
		return nil, explain("containers", "", err)
	}
	working := map[string]*buildah.Builder{}
	for _, builder := range builders {
		working[builder.ContainerID] = builder
	}
	all, err := b.options.Store.Containers()
	if err != nil {
		return nil, explain("containers", "", err)
	}
	var found []Found
	for _, container := range all {
		f := Found{ID: container.ID, ImageID: container.ImageID, Image: b.imageName(container.ImageID)}
		if len(container.Names) > 0 {
			f.Name = container.Names[0]
		}
		builder := working[f.ID]
		if builder == nil && !o.All || o.Name != "" && f.Name != o.Name && f.ID != o.Name || !matches(f) {
			continue
		}
		if builder != nil {
			f.Working, err = b.adopt(builder)
			if errors.Is(err, errNoContainer) {
				continue // gone since it was listed
			} else if err != nil {
				return nil, err
			}
		}
		found = append(found, f)
	}
	if o.Name != "" && len(found) == 0 {
		if _, err := b.Container(o.Name); err != nil {
			return nil, err
		}
		return nil, failure.New("containers", o.Name, "the filters leave it out")
	}
	return found, nil
}

// errNoContainer is the cause of Container's error when there is none.
var errNoContainer = errors.New("no such container in the store")

// Container returns the working container of that name or ID: one of this run, or one that buildah or an earlier run left.
func (b *Builder) Container(name string) (*Container, error) {
	found, err := b.options.Store.Container(name)
	if errors.Is(err, storage.ErrContainerUnknown) {
		return nil, failure.New("looking up", name, "%w", errNoContainer)
	} else if err != nil {
		return nil, explain("looking up", name, err)
	}
	if c := b.known(found.ID); c != nil {
		return c, nil
	}
	builder, err := buildah.OpenBuilder(b.options.Store, found.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.New("container", name, "is not a working container of buildah or rlbuild").
			WithHint("leave it to the tool that made it, podman for example.")
	} else if err != nil {
		return nil, explain("looking up", name, err)
	}
	return b.adopt(builder)
}

// known returns the container of that ID if this run has made or adopted it.
func (b *Builder) known(id string) *Container {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.containers {
		if c.id == id && !c.gone {
			return c
		}
	}
	return nil
}

// adopt returns the run's container for one of the store.
func (b *Builder) adopt(builder *buildah.Builder) (*Container, error) {
	if c := b.known(builder.ContainerID); c != nil {
		return c, nil
	}
	if err := b.options.Journal.Use(journal.Used, builder.ContainerID); err != nil {
		return nil, err
	}
	if _, err := b.options.Store.Container(builder.ContainerID); errors.Is(err, storage.ErrContainerUnknown) {
		return nil, failure.New("looking up", builder.Container, "%w", errNoContainer) // reclaimed just now
	}
	builder.NetworkInterface, builder.Logger = b.network(), b.options.Logger
	if err := cutMaps(builder); err != nil {
		return nil, err
	}
	state, err := json.Marshal(builder)
	if err != nil {
		return nil, fmt.Errorf("reading the container %s: %w", builder.Container, err)
	}
	c := &Container{run: b, builder: builder, id: builder.ContainerID, name: builder.Container,
		adopted: &adopted{mountPoint: builder.MountPoint, state: state}, defaults: savedDefaults(builder)}
	builder.MountPoint = "" // this run hasn't mounted it
	b.mu.Lock()
	b.containers = append(b.containers, c)
	b.mu.Unlock()
	return c, nil
}

// savedDefaults returns those of a container's settings for run steps that the engine keeps beside the library's state, from
// that state. The isolation isn't one of them: buildah run has its own.
func savedDefaults(builder *buildah.Builder) StepDefaults {
	s := StepSettings{CDIConfigDir: builder.CDIConfigDir}
	for _, n := range builder.NamespaceOptions {
		mode := ""
		switch {
		case n.Host:
			mode = "host"
		case filepath.IsAbs(n.Path):
			mode = "ns:" + n.Path
		default:
			mode = n.Path // of a network: "pasta:…", or names
		}
		switch specs.LinuxNamespaceType(n.Name) {
		case specs.NetworkNamespace:
			s.Network = mode
		case specs.IPCNamespace:
			s.IPC = mode
		case specs.PIDNamespace:
			s.PID = mode
		case specs.UTSNamespace:
			s.UTS = mode
		case specs.CgroupNamespace:
			s.CgroupNS = mode
		}
	}
	if builder.ConfigureNetwork == define.NetworkDisabled {
		s.Network = "none"
	}
	return StepDefaults{StepSettings: s}
}

// giveBack lets go of an adopted container. What the script changed of its configuration is saved, as buildah's commands
// do; nothing else is.
func (c *Container) giveBack() error {
	if c.gone {
		return nil
	}
	if err := c.release(); err != nil {
		return err
	}
	c.builder.MountPoint = c.adopted.mountPoint
	state, err := json.Marshal(c.builder)
	if err == nil && !bytes.Equal(state, c.adopted.state) {
		err = c.builder.Save()
	}
	if err != nil {
		return fmt.Errorf("saving the container %s: %w", c.name, err)
	}
	return nil
}

// Rename gives the container another name.
func (c *Container) Rename(name string) error {
	if err := c.alive("rename"); err != nil {
		return err
	}
	store := c.run.options.Store
	switch other, err := store.Container(name); {
	case name == "":
		return failure.New("rename", c.name, "the new name is empty")
	case name == c.name:
		return failure.New("rename", c.name, "that is its name already")
	case err == nil:
		return failure.New("rename", c.name, "the name %q is in use by container %.12s", name, other.ID).
			WithHint("choose another name, or remove that one: remove(%q)", name)
	case !errors.Is(err, storage.ErrContainerUnknown):
		return explain("rename", c.name, err)
	}
	if err := store.SetNames(c.id, []string{name}); err != nil {
		return explain("rename", c.name, err)
	}
	c.name, c.builder.Container = name, name
	return c.save()
}

// save writes the container's state to the store, where other tools read it.
func (c *Container) save() error {
	mounted := c.builder.MountPoint
	defer func() { c.builder.MountPoint = mounted }()
	c.builder.MountPoint = "" // the run's own mount is nobody else's
	if c.adopted != nil {
		c.builder.MountPoint = c.adopted.mountPoint
	}
	if err := c.builder.Save(); err != nil {
		return fmt.Errorf("saving the container %s: %w", c.name, err)
	}
	return nil
}

// imageName returns the name that buildah lists for the image of a container.
func (b *Builder) imageName(id string) string {
	if id == "" {
		return Scratch
	}
	if image, err := b.options.Store.Image(id); err == nil && len(image.Names) > 0 {
		return image.Names[0]
	}
	return ""
}

// containerFilter returns what `buildah containers --filter` lets through: the start of an ID, a part of a name, the start
// of the image's ID or the end of its name. All filters must match.
func containerFilter(filters []string) (func(Found) bool, error) {
	var tests []func(Found) bool
	for _, filter := range filters {
		for part := range strings.SplitSeq(filter, ",") {
			key, value, found := strings.Cut(part, "=")
			if !found {
				return nil, failure.New("filter", fmt.Sprintf("%q", part), "is not KEY=VALUE")
			}
			switch strings.TrimSpace(key) {
			case "id":
				tests = append(tests, func(f Found) bool { return strings.HasPrefix(f.ID, value) })
			case "name":
				tests = append(tests, func(f Found) bool { return strings.Contains(f.Name, value) })
			case "ancestor":
				tests = append(tests, func(f Found) bool {
					return strings.HasPrefix(f.ImageID, value) || namedLike(f.Image, value)
				})
			default:
				return nil, failure.New("filter", fmt.Sprintf("%q", part), "is of no kind that containers have").
					WithHint("the filters are id=, name= and ancestor=.")
			}
		}
	}
	return func(f Found) bool {
		for _, matches := range tests {
			if !matches(f) {
				return false
			}
		}
		return true
	}, nil
}

// namedLike reports whether an image's name ends in that repository, and has that tag if there is one.
func namedLike(name, wanted string) bool {
	repository, tag, _ := strings.Cut(name, ":")
	wanted, wantedTag, tagged := strings.Cut(wanted, ":")
	return strings.HasSuffix(repository, wanted) && (!tagged || tag == wantedTag)
}
