package engine

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"go.podman.io/buildah/copier"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/system"

	"github.com/rlbuild/rlbuild/engine/layer"
)

// notDirect says why a layer can't be made of a container's upper directory, so that the library has to make it.
type notDirect string

func (reason notDirect) Error() string { return string(reason) }

// changes describes what the container holds on top of its image, as the library would commit it at these times. It fails with a notDirect
// where the storage driver keeps that any other way than as an overlay upper directory with the owners as they are.
func (c *Container) changes(times Times) (layer.Changes, error) {
	store := c.run.options.Store
	if err := c.run.keepsUpper(); err != nil {
		return layer.Changes{}, err
	}
	container, err := store.Container(c.id)
	if err != nil {
		return layer.Changes{}, err
	}
	own, err := store.Layer(container.LayerID)
	if err != nil {
		return layer.Changes{}, err
	}
	if len(own.UIDMap) > 0 || len(own.GIDMap) > 0 {
		return layer.Changes{}, notDirect("the container's files have mapped owners")
	}
	driver, err := store.GraphDriver()
	if err != nil {
		return layer.Changes{}, err
	}
	places, err := driver.Metadata(own.ID)
	if err != nil {
		return layer.Changes{}, err
	}
	found := layer.Changes{Dir: places["UpperDir"], Stamp: times.stamp()}
	if lower := places["LowerDir"]; lower != "" {
		found.Lower = strings.Split(lower, ":")
	}
	found.Omit, err = c.omissions(found.Lower)
	return found, err
}

// keepsUpper returns nil, or a notDirect.
func (b *Builder) keepsUpper() error {
	store := b.options.Store
	if driver := store.GraphDriverName(); driver != "overlay" {
		return notDirect("the storage driver is " + driver)
	}
	for _, option := range store.GraphOptions() {
		if name, value, _ := strings.Cut(option, "="); strings.HasSuffix(name, ".force_mask") && value != "" {
			return notDirect("the store has a force_mask")
		}
	}
	status, err := store.Status()
	if err != nil {
		return err
	}
	for _, line := range status {
		if line == [2]string{"Native Overlay Diff", "false"} {
			return notDirect("overlay's native diff is not in use here")
		}
	}
	return nil
}

// Where the library notes, in its directory for a container, what a commit leaves out (image.go of buildah).
const (
	mountTargetDir = "commit-excludes"  // files and directories that were made only to be mounted on
	pulledUpDir    = "commit-pulled-up" // directories that overlay has copied up from the image because one was made in them
)

// omissions returns what tells which entries a commit leaves out, or nil.
func (c *Container) omissions(lower []string) (func(*tar.Header) bool, error) {
	dir, err := c.run.options.Store.ContainerDirectory(c.id)
	if err != nil {
		return nil, err
	}
	all, err := readOmissions(filepath.Join(dir, mountTargetDir))
	if err != nil {
		return nil, err
	}
	pulledUp, err := readOmissions(filepath.Join(dir, pulledUpDir))
	if err != nil {
		return nil, err
	}
	for _, p := range pulledUp {
		if info := statBelow(lower, p.Path); info != nil && unchanged(p, info) {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	byName := map[string]copier.ConditionalRemovePath{}
	for _, o := range all {
		byName[strings.Trim(path.Clean(o.Path), "/")] = o
	}
	return func(hdr *tar.Header) bool {
		o, noted := byName[strings.Trim(path.Clean(hdr.Name), "/")]
		return noted && (o.ModTime == nil || o.ModTime.Equal(hdr.ModTime)) &&
			(o.Owner == nil || o.Owner.UID == hdr.Uid && o.Owner.GID == hdr.Gid) &&
			(o.Mode == nil || o.Mode.Perm() == fs.FileMode(hdr.Mode).Perm())
	}, nil
}

// readOmissions reads the notes in a directory; none is none.
func readOmissions(dir string) ([]copier.ConditionalRemovePath, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []copier.ConditionalRemovePath
	for _, entry := range entries {
		if strings.Contains(entry.Name(), ".tmp") {
			continue // being written
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		var some []copier.ConditionalRemovePath
		if err := json.Unmarshal(text, &some); err != nil {
			return nil, fmt.Errorf("parsing what the commit leaves out: %w", err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// unchanged tells whether a directory of the image is what it was when a step's mounts copied it up. That only a change of
// both owner and group counts is the library's decision (filterExclusionsByImage).
func unchanged(noted copier.EnsureParentPath, info fs.FileInfo) bool {
	stat := info.Sys().(*syscall.Stat_t)
	return (noted.ModTime == nil || noted.ModTime.Equal(info.ModTime())) &&
		(noted.Mode == nil || *noted.Mode == info.Mode()) &&
		(noted.Owner == nil || noted.Owner.UID == int(stat.Uid) || noted.Owner.GID == int(stat.Gid))
}

// statBelow returns what is at a path in the union of overlay layers, the uppermost first, without mounting it, or nil. It
// follows no links: the notes name directories as they are.
func statBelow(layers []string, name string) fs.FileInfo {
	parts := strings.Split(strings.Trim(path.Clean(name), "/"), "/")
	for _, dir := range layers {
		at, hides := dir, false
		for i, part := range parts {
			at = filepath.Join(at, part)
			info, err := os.Lstat(at)
			if errors.Is(err, fs.ErrNotExist) {
				break // the layers below decide
			}
			last := i == len(parts)-1
			if err != nil || last && info.Mode()&fs.ModeCharDevice != 0 || !last && !info.IsDir() {
				return nil // deleted, or something else is in the way
			}
			if last {
				return info
			}
			opaque, err := system.Lgetxattr(at, archive.GetOverlayXattrName("opaque"))
			hides = hides || err == nil && string(opaque) == "y"
		}
		if hides {
			return nil
		}
	}
	return nil
}
