package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/trouble"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/ioutils"
	"golang.org/x/sys/unix"
)

// mapsFile is where a store remembers under which ID maps its files were last seen to have owners: as long as those hold,
// nobody has to look.
const mapsFile = "rlbuild-id-maps"

// How far the search for files of unmapped owners goes. It ends at the first of each layer.
const (
	mostFiles  = 200_000
	mostSearch = 2 * time.Second
)

// foreign are files whose owner or group has no ID in this user namespace, one for each layer that has any: the path by the
// layer's ID. They were written when other ranges of sub-IDs were mapped.
type foreign map[string]string

// findForeign looks for them, unless it did under the same maps before. A search that had to end early counts as done.
func findForeign(s *Store) foreign {
	now := currentMaps()
	file := filepath.Join(s.Choice.Root, mapsFile)
	if seen, err := os.ReadFile(file); err == nil && string(seen) == now {
		return nil
	}
	found, _ := searchForeign(s)
	if len(found) == 0 {
		_ = ioutils.AtomicWriteFile(file, []byte(now), 0o600) // else the next run looks again
	}
	return found
}

// searchForeign looks at the files of all layers; whole is false if it didn't get to the end.
func searchForeign(s *Store) (found foreign, whole bool) {
	layers, err := s.Layers()
	if err != nil {
		return nil, false
	}
	user, group := reach.Overflow()
	search := foreignSearch{overflow: [2]int{user, group}, files: mostFiles, end: time.Now().Add(mostSearch)}
	found = foreign{}
	for i := range layers {
		if path := search.layer(s.layerDir(layers[i].ID), &layers[i]); path != "" {
			found[layers[i].ID] = path
		}
		if search.over {
			return found, false
		}
	}
	return found, true
}

// layerDir returns where a layer's own files are.
func (s *Store) layerDir(id string) string {
	for _, root := range []string{s.Choice.Root, s.ImageStore()} {
		dir := filepath.Join(root, "overlay", id, "diff")
		if s.Choice.Driver == "vfs" {
			dir = filepath.Join(root, "vfs", "dir", id)
		}
		if root != "" && exists(dir) {
			return dir
		}
	}
	return ""
}

// foreignSearch is one search, as far as it has got.
type foreignSearch struct {
	overflow [2]int // the user and the group that stand for those without an ID
	files    int    // that may still be looked at
	end      time.Time
	over     bool
}

var errFound = errors.New("found")

// layer returns the first file in dir, the directory of a layer's files, whose owner isn't mapped, or "".
func (f *foreignSearch) layer(dir string, layer *storage.Layer) (found string) {
	if dir == "" || onlyRoot(layer.UIDs) && onlyRoot(layer.GIDs) {
		return "" // root of the namespace is the user, whose ID doesn't change
	}
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		if f.files--; f.files < 0 || f.files%256 == 0 && time.Now().After(f.end) {
			f.over = true
			return errFound
		}
		if f.foreign(path, layer) {
			found = path
			return errFound
		}
		return nil // also for what can't be read: its directory is the finding, if its owner is the cause
	})
	return found
}

// onlyRoot tells whether the list is there and has no other ID than 0.
func onlyRoot(ids []uint32) bool {
	return len(ids) > 0 && !slices.ContainsFunc(ids, func(id uint32) bool { return id != 0 })
}

// foreign tells whether the owner or group of path isn't mapped here. It shows as the overflow ID then, but that ID may be
// mapped as well, and be the true owner. Two things prove that it isn't: the kernel denies even the namespace's root what a
// mapped owner and group would grant, or the layer has no file of that ID.
func (f *foreignSearch) foreign(path string, layer *storage.Layer) bool {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || int(st.Uid) != f.overflow[0] && int(st.Gid) != f.overflow[1] {
		return false
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK && errors.Is(unix.Access(path, unix.W_OK), syscall.EACCES) {
		return true
	}
	lacks := func(ids []uint32, id uint32) bool { return len(ids) > 0 && !slices.Contains(ids, id) }
	return len(layer.UIDMap) == 0 && int(st.Uid) == f.overflow[0] && lacks(layer.UIDs, st.Uid) ||
		len(layer.GIDMap) == 0 && int(st.Gid) == f.overflow[1] && lacks(layer.GIDs, st.Gid)
}

// first returns one of them, the same each time, or "".
func (f foreign) first() string {
	ids := slices.Sorted(maps.Keys(f))
	if len(ids) == 0 {
		return ""
	}
	return f[ids[0]]
}

// tell notes that there are some: what is made of those layers can't be used.
func (f foreign) tell(note func(string), root string) {
	if path := f.first(); path != "" {
		note(fmt.Sprintf("%s holds images that can't be used now: %v; rlbuild doctor says what to do", root,
			trouble.OtherMap.Reason(nil, foreignFacts(path))))
	}
}

// foreignFacts are the facts of trouble.OtherMap about a file of an unmapped owner.
func foreignFacts(path string) trouble.Facts {
	whose := "a user"
	user, _ := reach.Overflow()
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil && int(st.Uid) != user {
		whose = "a group"
	}
	return trouble.Facts{"path": path, "whose": whose}
}

// Refuse returns the error for op on subject if the container, or what it is made of, holds a file whose owner isn't mapped.
func (s *Store) Refuse(op, subject, container string) error {
	return s.refuse(op, subject, func() (string, error) {
		c, err := s.Container(container)
		if err != nil {
			return "", err
		}
		return s.foreignBelow(c.LayerID)
	})
}

// RefuseDeletion returns the error for op on subject if files of the container can't be deleted because the owner of their
// directory isn't mapped: the library would forget the container and leave them.
func (s *Store) RefuseDeletion(op, subject, container string) error {
	return s.refuse(op, subject, func() (string, error) {
		c, err := s.Container(container)
		if err != nil {
			return "", err
		}
		return s.foreign[c.LayerID], nil
	})
}

// RefuseImageDeletion is RefuseDeletion for an image. One that would only lose a name is none of its business.
func (s *Store) RefuseImageDeletion(op, subject, image string, force bool) error {
	return s.refuse(op, subject, func() (string, error) {
		i, err := s.Image(image)
		if err != nil || len(i.Names) > 1 && !force {
			return "", err
		}
		return s.foreignBelow(i.TopLayer)
	})
}

// refuse makes the error about the file that find returns, if there is any to find. What find can't do, op can't either, and
// says it better.
func (s *Store) refuse(op, subject string, find func() (string, error)) error {
	if len(s.foreign) == 0 {
		return nil
	}
	path, err := find()
	if err != nil || path == "" {
		return nil
	}
	return trouble.OtherMap.Explain(op, subject, nil, foreignFacts(path))
}

// foreignBelow returns a file of an unmapped owner in a layer or in one below it, or "".
func (s *Store) foreignBelow(layer string) (string, error) {
	for id := layer; id != ""; {
		if path, ok := s.foreign[id]; ok {
			return path, nil
		}
		below, err := s.Layer(id)
		if err != nil {
			return "", err
		}
		id = below.Parent
	}
	return "", nil
}

// currentMaps are the maps of this process's user namespace, as text.
func currentMaps() string {
	text := ""
	for _, name := range []string{"uid_map", "gid_map"} {
		content, _ := os.ReadFile("/proc/self/" + name) // without /proc nothing worked before this
		text += name + "\n" + string(content)
	}
	return text
}
