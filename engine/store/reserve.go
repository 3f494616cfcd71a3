package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Reserve holds enough of the store's file system to write the library's lists a few times, until release is called: what
// has begun can be ended, or undone, on a file system that is full. The library rewrites its lists for either. Without room
// for the reserve there is an error, which unix.ENOSPC or unix.EDQUOT is found in; a file system that can't hold a reserve
// gives none. The file has no name, so nothing of it stays whatever happens.
func (s *Store) Reserve() (release func(), err error) {
	size := int64(256 << 10)
	for _, list := range []string{"layers", "images", "containers"} {
		dir := filepath.Join(s.Choice.Root, s.Choice.Driver+"-"+list)
		if info, err := os.Stat(filepath.Join(dir, list+".json")); err == nil {
			size += 3 * info.Size()
		}
	}
	fd, err := unix.Open(s.Choice.Root, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Fallocate(fd, 0, 0, size)
		}
	}
	release = sync.OnceFunc(func() {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	})
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		release()
		return nil, &fs.PathError{Op: "reserving room in", Path: s.Choice.Root, Err: err}
	}
	return release, nil
}
