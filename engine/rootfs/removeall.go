package rootfs

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// RemoveAll deletes what is at path, a directory with everything in it, as os.RemoveAll does, but enters no mount: what is
// mounted there is somebody's. Nothing there is as good.
func RemoveAll(path string) error {
	path = filepath.Clean(path)
	parent, err := Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer parent.Close()
	var failed *fs.PathError
	switch err = parent.Remove(filepath.Base(path), true); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.As(err, &failed):
		return &fs.PathError{Op: failed.Op, Path: filepath.Join(parent.Dir(), failed.Path), Err: failed.Err}
	}
	return err
}
