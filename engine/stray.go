package engine

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// strays returns what was written to the container's mount point while nothing was mounted there: a mount ends with the
// namespaces that it was made in, and its path stays. dir is where they are. Only overlay has an empty directory there;
// what isn't found out holds nobody up.
func (c *Container) strays() (dir string, names []string) {
	store := c.run.options.Store
	container, err := store.Container(c.id)
	if err != nil {
		return "", nil
	}
	driver, err := store.GraphDriver()
	if err != nil {
		return "", nil
	}
	places, err := driver.Metadata(container.LayerID)
	if err != nil {
		return "", nil
	}
	dir = places["MergedDir"]
	if dir == "" || mountedAt(dir) {
		return "", nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil // it is made when it is needed
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return dir, names
}

// mountedAt reports whether something is mounted at dir, or can't be told.
func mountedAt(dir string) bool {
	var here, above unix.Stat_t
	return unix.Lstat(dir, &here) != nil || unix.Lstat(filepath.Dir(dir), &above) != nil || here.Dev != above.Dev
}

// refuseStrays refuses to mount over them: whoever wrote them takes them for a part of the container, and the library
// couldn't unmount it again.
func (c *Container) refuseStrays() error {
	dir, names := c.strays()
	if len(names) == 0 {
		return nil
	}
	const most = 3
	list := failure.Redact(strings.Join(names[:min(len(names), most)], ", "))
	if len(names) > most {
		list += ", …"
	}
	return trouble.WroteBeside.Explain("mount", c.name, nil, trouble.Facts{"names": list, "path": dir})
}

// dropStrays removes them with the container that they were meant for.
func (c *Container) dropStrays() error {
	dir, names := c.strays()
	for _, name := range names {
		if err := rootfs.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
