package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Move moves the files of the changes, which WriteTar described by s, into an empty directory of the same file system, in
// place of a copy; nothing may use the changes any more. What Omit kept out stays out, and directories get the times that
// they have in the stream. Files keep theirs, so changes with a Stamp are copied. The returned function moves the files back; it is to be called also if there is an error.
func (c Changes) Move(to string, s Summary) (undo func() error, err error) {
	entries, err := os.ReadDir(c.Dir)
	var moved []string
	undo = func() error {
		var errs []error
		for _, name := range moved {
			errs = append(errs, os.Rename(filepath.Join(to, name), filepath.Join(c.Dir, name)))
		}
		return errors.Join(errs...)
	}
	if err != nil {
		return undo, err
	}
	for _, entry := range entries {
		if err := os.Rename(filepath.Join(c.Dir, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return undo, err
		}
		moved = append(moved, entry.Name())
	}
	for _, name := range slices.Backward(s.Omitted) {
		// A directory stays if anything in it does.
		err := os.Remove(filepath.Join(to, name))
		if err != nil && !errors.Is(err, unix.ENOTEMPTY) {
			return undo, fmt.Errorf("leaving out %s: %w", name, err)
		} else if err == nil {
			moved = slices.DeleteFunc(moved, func(top string) bool { return top == name })
		}
	}
	return undo, filepath.WalkDir(to, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() || file == to {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		// Commits of containers on top compare the times of directories with those that streams have.
		return os.Chtimes(file, time.Time{}, info.ModTime().Truncate(time.Second))
	})
}
