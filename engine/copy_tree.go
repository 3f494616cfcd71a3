package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah/define"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/idtools"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// CopyFrom is a container or image whose root file system is copied from.
type CopyFrom struct {
	Container *Container // one of this run, or nil
	Name      string     // of a container in the store, or else of an image, which is fetched if it isn't there

	DecryptionKeys   []string // as PullOptions.DecryptionKeys
	RemoveSignatures bool     // as PullOptions.RemoveSignatures
}

// tree is where sources are looked up. It is opened for one copy, so that what is mounted or swapped at its root later
// changes nothing for that copy.
type tree struct {
	files *rootfs.FS
	host  string                   // its path, for the library
	what  string                   // how messages name it, "" for the host's root
	owned bool                     // its owners are kept
	ids   *define.IDMappingOptions // how its owners are mapped, nil if they aren't

	release func() error // what close does at last
}

func openTree(dir string) (*tree, error) {
	files, err := rootfs.Open(dir)
	if err != nil {
		return nil, err
	}
	return &tree{files: files, host: dir, release: func() error { return nil }}, nil
}

func (t *tree) close() error { return errors.Join(t.files.Close(), t.release()) }

// about says which tree an error is about.
func (t *tree) about(err error) error {
	if t.what == "" {
		return err
	}
	return fmt.Errorf("in %s: %w", t.what, err)
}

// path returns the host's path of a source, for the library. What is above "/./" stays apart from what is below.
func (t *tree) path(name string) string {
	if strings.Contains(name, "/./") {
		return strings.TrimSuffix(t.host, "/") + "/" + strings.TrimPrefix(name, "/")
	}
	// Cleaned as an absolute path first, so that ".." ends at the root, as it does for a process in there.
	return filepath.Join(t.host, filepath.Join("/", name))
}

// enter makes the tree one of its directories, which no link leads out of from then on.
func (t *tree) enter(name string) error {
	inside, err := t.files.Resolve(name)
	if err != nil {
		return err
	}
	sub, err := t.files.Sub(inside)
	if err != nil {
		return err
	}
	err = t.files.Close()
	t.files, t.host = sub, filepath.Join(t.host, inside)
	return err
}

// openSources opens the tree that local sources are looked up in.
func (c *Container) openSources(ctx context.Context, o CopyOptions) (t *tree, err error) {
	root := o.root()
	switch {
	case o.From != nil:
		t, err = c.run.openFrom(ctx, o)
	case o.Context != nil:
		root = o.Context.Root
		fallthrough
	default:
		if t, err = openTree(root); err == nil {
			t.owned = root != "/"
		}
	}
	if err != nil || o.Context == nil {
		return t, err
	}
	if err := t.enter(o.Context.Path); err != nil {
		return nil, errors.Join(fmt.Errorf("context directory: %w", err), t.close())
	}
	t.what = "the context directory " + o.Context.Path
	return t, nil
}

// inTree returns the name that a source has in the tree that openSources opens.
func (o *CopyOptions) inTree(s Source) (Source, error) {
	if o.Context == nil {
		return s, nil
	}
	outside := failure.New("contextdir:", o.Context.Path, "%s lies outside of it", s.Path).
		WithHint("sources are relative to the context directory, and lie below it.")
	if o.From == nil && s.Root == "" {
		if clean := path.Clean(s.Path); clean == ".." || strings.HasPrefix(clean, "../") || path.IsAbs(clean) {
			return s, outside
		}
		return s, nil
	}
	below := func(name string) (string, bool) {
		rel, err := filepath.Rel(path.Join("/", o.Context.Path), path.Join("/", name))
		return rel, err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
	}
	name, inside := below(s.Path)
	if !inside || o.From == nil && s.Root != o.Context.Root {
		return s, outside
	}
	if above, rest, pivot := strings.Cut(s.Path, "/./"); pivot {
		if head, inside := below(above); inside {
			name = head + "/./" + rest
		}
	}
	s.Path = name
	return s, nil
}

// openFrom opens the root of a container or, read-only and for this copy alone, of an image.
func (b *Builder) openFrom(ctx context.Context, o CopyOptions) (*tree, error) {
	from := o.From.Container
	if from == nil {
		b.mu.Lock()
		i := slices.IndexFunc(b.containers, func(c *Container) bool {
			return !c.gone && (c.name == o.From.Name || c.id == o.From.Name)
		})
		if i >= 0 {
			from = b.containers[i]
		}
		b.mu.Unlock()
	}
	if from == nil {
		return b.openOther(ctx, o)
	}
	if _, err := from.Mount(); err != nil {
		return nil, err
	}
	t, err := openTree(from.root)
	if err != nil {
		return nil, err
	}
	t.what, t.owned = "the container "+from.name, true
	if from.mapped() {
		t.ids = &from.builder.IDMappingOptions
	}
	return t, nil
}

// openOther opens the root of a container that isn't this run's, or of an image.
func (b *Builder) openOther(ctx context.Context, o CopyOptions) (*tree, error) {
	store, name := b.options.Store, o.From.Name
	var dir, what string
	var uids, gids []idtools.IDMap
	var unmount func() error
	container, err := store.Container(name)
	switch {
	case err == nil:
		what, uids, gids = "the container "+name, container.UIDMap, container.GIDMap
		dir, err = store.Mount(container.ID, container.MountLabel())
		unmount = func() error { _, err := store.Unmount(container.ID, false); return err }
	case errors.Is(err, storage.ErrContainerUnknown):
		var image *Image
		if image, err = b.imageOrPull(ctx, o); err != nil {
			return nil, err
		}
		what = "the image " + name
		dir, err = store.MountImage(image.ID, nil, "")
		unmount = func() error { _, err := store.UnmountImage(image.ID, false); return err }
	}
	if err != nil {
		return nil, explain("from_", name, err)
	}
	t, err := openTree(dir)
	if err != nil {
		return nil, errors.Join(err, unmount())
	}
	t.what, t.owned, t.release = what, true, unmount
	if len(uids) > 0 || len(gids) > 0 {
		t.ids = &define.IDMappingOptions{UIDMap: runtimeMap(uids), GIDMap: runtimeMap(gids)}
	}
	return t, nil
}

// imageOrPull returns the image that is copied from, which it fetches if it isn't in the store.
func (b *Builder) imageOrPull(ctx context.Context, o CopyOptions) (*Image, error) {
	if image, err := b.Image(o.From.Name); err == nil {
		return image, nil
	}
	images, err := b.Pull(ctx, PullOptions{Image: o.From.Name, Policy: "missing", Access: o.Access,
		DecryptionKeys: o.From.DecryptionKeys, RemoveSignatures: o.From.RemoveSignatures})
	if err != nil {
		return nil, err
	}
	return images[0], nil
}

// runtimeMap is a map of IDs as buildah's library has them.
func runtimeMap(ids []idtools.IDMap) []specs.LinuxIDMapping {
	all := make([]specs.LinuxIDMapping, len(ids))
	for i, m := range ids {
		all[i] = specs.LinuxIDMapping{ContainerID: uint32(m.ContainerID), HostID: uint32(m.HostID), Size: uint32(m.Size)}
	}
	return all
}
