package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/buildah/define"
	"go.podman.io/buildah/util"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/store"
)

// letIn makes the library's temporary files reachable for the root of a user namespace with these maps, who is a stranger
// to the directories of the user: the library's helpers enter the step's root as him, below TempDir. Where a directory on
// the way is closed to strangers, as a home directory is, they get another way in.
func (b *Builder) letIn(ids *define.IDMappingOptions) error {
	if ids == nil || len(ids.UIDMap) == 0 && !ids.AutoUserNs {
		return nil
	}
	if uid, _, err := util.GetHostIDs(ids.UIDMap, ids.GIDMap, 0, 0); err == nil && uid == 0 && !ids.AutoUserNs {
		return nil
	}
	if b.passage != "" {
		return nil
	}
	// Others can go through, to names they know; what is in there has permissions of its own.
	if err := os.Chmod(b.options.TempDir, 0o711); err != nil {
		return err
	}
	closed, err := closedAbove(b.options.TempDir)
	if err != nil || closed == "" {
		return err
	}
	if err := b.openPassage(); err != nil {
		return failure.New("userns", closed, "the container's own root, another user here, can't enter this directory,"+
			" and the step's files lie below it; nor can they be shown elsewhere (%w)", err).
			WithHint("name a directory in TMPDIR that all users can enter, such as /var/tmp; with --isolation sandbox, run needs none.")
	}
	return nil
}

// closedAbove returns the nearest directory above dir that strangers can't enter, or "".
func closedAbove(dir string) (string, error) {
	for dir != "/" {
		dir = filepath.Dir(dir)
		info, err := os.Stat(dir)
		if err != nil {
			return "", err
		}
		if info.Mode()&0o001 == 0 {
			return dir, nil
		}
	}
	return "", nil
}

// openPassage gives TempDir a second name that strangers can use, and points the libraries at it: a bind mount, which is seen
// in this process's mount namespace only.
func (b *Builder) openPassage() error {
	if b.options.PointTempDir == nil {
		return errors.New("the libraries use this one")
	}
	var refused []string
	for _, parent := range []string{"/var/tmp", "/tmp", "/dev/shm"} {
		if closed, err := closedAbove(filepath.Join(parent, "x")); err != nil || closed != "" {
			refused = append(refused, parent+": closed as well")
			continue
		}
		dir := filepath.Join(parent, "rlbuild-"+b.options.Journal.ID())
		if err := b.options.Journal.Note(journal.Temporary, dir); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o711); err != nil {
			refused = append(refused, fmt.Sprintf("%s: %v", parent, errors.Unwrap(err)))
			continue
		}
		// Not recursive: what steps have mounted in TempDir is known by its name there, and mounted here as well it would
		// keep its mount point busy. Private: a mount that the library makes by this name goes with it.
		err := unix.Mount(b.options.TempDir, dir, "", unix.MS_BIND, "")
		if err == nil {
			err = unix.Mount("", dir, "", unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = b.options.PointTempDir(dir)
		}
		b.passage = dir
		if err == nil {
			return nil
		}
		return errors.Join(fmt.Errorf("%s: %w", dir, err), b.closePassage())
	}
	return errors.New(strings.Join(refused, "; "))
}

// closePassage takes the second name away.
func (b *Builder) closePassage() error {
	if b.passage == "" {
		return nil
	}
	dir := b.passage
	if err := unmountAll(dir); err != nil {
		return failure.New("releasing", dir, "%w", err)
	}
	b.passage = ""
	return os.Remove(dir) // it is empty, and if it weren't, nothing would be lost
}

// unmountAll unmounts what is mounted at dir and below.
func unmountAll(dir string) error {
	if err := store.UnmountBelow(dir); err != nil {
		return err
	}
	if err := detach(dir); !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil // nothing is, or what can't be taken away; deleting dir tells
}

// temporary tells whether path lies in the run's own directory for temporary files, by either name.
func (b *Builder) temporary(path string) bool {
	return strings.HasPrefix(path, b.options.TempDir) || b.passage != "" && strings.HasPrefix(path, b.passage)
}
