package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage"
	mounts "go.podman.io/storage/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// ErrMounted is among the errors when something is still mounted below a directory that is to be deleted.
var ErrMounted = errors.New("something is still mounted there")

// DeleteContainer is the library's, and keeps what is mounted in the container: see unmountBelow. It works on a file system that
// is full as well: the library writes its lists anew before it deletes files, so there the container's files go first.
func (s *Store) DeleteContainer(id string) error {
	container, err := s.Container(id)
	if err == nil {
		err = s.release(container.LayerID)
	}
	if err != nil && !errors.Is(err, storage.ErrContainerUnknown) {
		return err
	}
	err = s.Store.DeleteContainer(id)
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	if emptied := s.empty(id); emptied != nil {
		return errors.Join(err, emptied)
	}
	return s.Store.DeleteContainer(id)
}

// DeleteLayer is the library's, and keeps what is mounted in the layer.
func (s *Store) DeleteLayer(id string) error {
	if err := s.release(id); err != nil {
		return err
	}
	return s.Store.DeleteLayer(id)
}

// DeleteImage is the library's, and keeps what is mounted in the image. An image that was whole before it couldn't be given another
// name stays, once: the library's own commits and pulls would delete it, with all the names that it has.
func (s *Store) DeleteImage(id string, commit bool) (layers []string, err error) {
	if commit && s.owner.takeSpared(id) {
		return nil, nil
	}
	if image, err := s.Image(id); err == nil && commit {
		for _, layer := range append(image.MappedTopLayers, image.TopLayer) {
			if err := s.release(layer); err != nil {
				return nil, err
			}
		}
	}
	return s.Store.DeleteImage(id, commit)
}

// release unmounts what was mounted in a layer that is about to be deleted. With vfs a container is nothing but a directory,
// and the library would delete what somebody has mounted in it, a directory of the user's, with the rest.
func (s *Store) release(layer string) error {
	dir := s.layerDir(layer)
	if dir == "" {
		return nil
	}
	if s.Choice.Driver == "overlay" {
		dir = filepath.Join(filepath.Dir(dir), "merged") // the library unmounts this itself
	}
	return UnmountBelow(dir)
}

// UnmountBelow unmounts all that is mounted below a directory which is going to be deleted, so that nobody deletes what is
// somebody else's. It fails, with ErrMounted, when something stays mounted.
func UnmountBelow(dir string) error {
	real, err := filepath.EvalSymlinks(dir) // as the kernel knows it
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	below := real + "/"
	if err := mounts.RecursiveUnmount(below); err != nil {
		return fmt.Errorf("%w: %w", ErrMounted, err)
	}
	present, err := mounts.GetMounts() // a mount of a namespace with more rights can't be taken away, which is told nobody
	if err != nil {
		return err
	}
	for _, m := range present {
		if strings.HasPrefix(m.Mountpoint, below) {
			return fmt.Errorf("%w: %s", ErrMounted, m.Mountpoint)
		}
	}
	return nil
}

// empty deletes the files of a container that is going to be deleted. They may be mounted still: the library needs an inode to
// unmount them.
func (s *Store) empty(id string) error {
	container, err := s.Container(id)
	if err != nil {
		return err
	}
	dir := s.layerDir(container.LayerID)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		errs = append(errs, rootfs.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return errors.Join(errs...)
}
