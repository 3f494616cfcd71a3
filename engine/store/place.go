package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/filesystem"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/trouble"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/types"
	"golang.org/x/sys/unix"
)

// apply puts what the caller says over what storage.conf and the environment say.
func (o Options) apply(options *types.StoreOptions) error {
	if o.Root != "" {
		root, err := filepath.Abs(o.Root)
		if err != nil {
			return failure.New("opening the store", o.Root, "%w", err).WithKind(failure.Machine)
		}
		if root != options.GraphRoot && o.RunRoot == "" {
			options.RunRoot = runRootFor(root, options.RunRoot)
		}
		options.GraphRoot = root
	}
	if o.RunRoot != "" {
		runRoot, err := filepath.Abs(o.RunRoot)
		if err != nil {
			return failure.New("opening the store", o.RunRoot, "%w", err).WithKind(failure.Machine)
		}
		options.RunRoot = runRoot
	}
	if o.ImageStore != "" {
		options.ImageStore = o.ImageStore
	}
	if o.Transient {
		options.TransientStore = true
	}
	if o.Driver != "" {
		options.GraphDriverOptions = nil
	}
	if len(o.DriverOptions) > 0 {
		options.GraphDriverOptions = append([]string(nil), o.DriverOptions...)
	}
	return nil
}

// runRootFor returns a run root for the store at root alone: with one run root, two stores would count each other's
// mounts and take one's answer to "does overlay work here?" for the other's.
func runRootFor(root, usual string) string {
	if resolved, err := filepath.EvalSymlinks(root); err == nil {
		root = resolved
	}
	return filepath.Join(usual, "roots", fmt.Sprintf("%.8x", sha256.Sum256([]byte(root))))
}

// makeDir makes dir, or says why it can't be used. Inside a user namespace root may not do as it likes: what belongs to
// an ID that isn't mapped is closed to it unless it is open to others.
func makeDir(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = unix.Access(dir, unix.W_OK|unix.X_OK)
	}
	if err == nil {
		return nil
	}
	const op, elsewhere = "opening the store", "Name another directory with --root or --runroot."
	obstacle := reach.Find(existing(dir), reach.Write|reach.Search)
	switch {
	case errors.Is(err, syscall.EROFS):
		return failure.New(op, dir, "it is on a read-only file system").WithKind(failure.Machine).
			WithHint("Name directories that are writable with --root and --runroot.")
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EEXIST): // what MkdirAll says of a dangling link
		reason := errors.New("it, or something above it, is not a directory")
		if obstacle != nil {
			reason = obstacle
		}
		return failure.New(op, dir, "%w", reason).WithHint("%s", elsewhere).WithKind(failure.Machine)
	case errors.Is(err, fs.ErrPermission) && obstacle != nil:
		return trouble.StoreClosed.Explain(op, dir, err, trouble.Facts{"obstacle": refused(dir, obstacle)})
	}
	return failure.New(op, dir, "%w", err).WithHint("%s", elsewhere).WithKind(failure.Machine)
}

// refused says which directory on the way to dir keeps this process out.
func refused(dir string, o *reach.Obstacle) string {
	what, whose := "no permission to enter", ""
	if o.Path == existing(dir) {
		what = "no permission to write in"
	}
	user, group := reach.Overflow()
	switch {
	case o.UID == user && o.GID == group:
		whose = ", which belongs to another user, of a group that isn't mapped in the user namespace"
	case o.UID != os.Geteuid():
		whose = ", which belongs to another user"
	case o.GID == group:
		whose = ", which belongs to a group that isn't mapped in the user namespace"
	}
	return fmt.Sprintf("%s %s%s", what, o.Path, whose)
}

// closed returns the error for a store that is the user's, while something in it isn't: what another user left there, or root.
// The library would say so later, in the middle of a build.
func (c Choice) closed() error {
	names := []string{"storage.lock", c.Driver}
	for _, kind := range []string{"image", "layer", "container"} {
		dir := c.Driver + "-" + kind + "s"
		names = append(names, dir, dir+"/"+kind+"s.lock", dir+"/"+kind+"s.json")
	}
	for _, name := range names {
		path := filepath.Join(c.Root, name)
		err := unix.Access(path, unix.W_OK)
		if !errors.Is(err, syscall.EACCES) {
			continue // it needn't be there; what else it can be, opening says
		}
		if o := reach.Find(path, reach.Write); o != nil {
			return trouble.StoreClosed.Explain("opening the store", c.Root, err, trouble.Facts{"obstacle": refused(path, o)})
		}
	}
	return nil
}

// fileSystem names the file system that dir is on.
func fileSystem(dir string) string {
	on, err := filesystem.Of(dir)
	if err != nil {
		return "its file system"
	}
	if name, ok := graphdriver.FsNames[graphdriver.FsMagic(on.Type)]; ok {
		return name
	}
	return fmt.Sprintf("file system type %#x", on.Type)
}
