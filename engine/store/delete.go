package store

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DeleteContainer is the library's, and works on a file system that is full as well: the library writes its lists anew before
// it deletes files, so there the container's files go first.
func (s *Store) DeleteContainer(id string) error {
	err := s.Store.DeleteContainer(id)
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	if emptied := s.empty(id); emptied != nil {
		return errors.Join(err, emptied)
	}
	return s.Store.DeleteContainer(id)
}

// empty deletes the files of a container that is going to be deleted. They may be mounted still: the library needs an inode to
// unmount them.
func (s *Store) empty(id string) error {
	container, err := s.Container(id)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.Choice.Root, "overlay", container.LayerID, "diff")
	if s.Choice.Driver == "vfs" {
		dir = filepath.Join(s.Choice.Root, "vfs", "dir", container.LayerID)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return errors.Join(errs...)
}
