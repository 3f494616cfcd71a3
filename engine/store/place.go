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
	fail := func(err error, hint string) error {
		return failure.New("opening the store", dir, "%w", err).WithHint("%s", hint).WithKind(failure.Machine)
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = unix.Access(dir, unix.W_OK|unix.X_OK)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EROFS):
		return fail(errors.New("it is on a read-only file system"), "Name directories that are writable with --root and --runroot.")
	case errors.Is(err, syscall.ENOTDIR):
		return fail(errors.New("it, or something above it, is not a directory"), "Name another directory with --root or --runroot.")
	case errors.Is(err, fs.ErrPermission):
		return fail(fmt.Errorf("%s", refused(dir)),
			"Name a directory of your own with --root or --runroot, or have this one given to you; each directory above it must let you pass (chmod o+x).")
	}
	return fail(err, "Name another directory with --root or --runroot.")
}

// refused says which directory on the way to dir keeps this process out.
func refused(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err == nil {
			owner := ""
			// The overflow ID stands for everybody who isn't mapped.
			if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != uint32(os.Geteuid()) {
				owner = ", which belongs to another user"
			}
			return fmt.Sprintf("no permission to write in %s%s", d, owner)
		}
		if d == filepath.Dir(d) {
			return "permission denied"
		}
	}
}

// fileSystem names the file system that dir is on.
func fileSystem(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "its file system"
	}
	if name, ok := graphdriver.FsNames[graphdriver.FsMagic(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("file system type %#x", st.Type)
}
