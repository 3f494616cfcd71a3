package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.podman.io/storage/drivers/overlay"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// fuseOverlay is the program that mounts overlay where the kernel doesn't.
const fuseOverlay = "fuse-overlayfs"

// driverHome is where one driver keeps its things.
type driverHome struct {
	dir string // below the root: layers
	run string // below the run root: mounts, and what was found out about the file system
}

// remove removes what opening the driver leaves when nothing was stored with it: empty folders and a flag.
func (h driverHome) remove() {
	for _, name := range []string{".has-mount-program", "l", "dir", "tempdirs", ""} {
		_ = os.Remove(filepath.Join(h.dir, name))
	}
}

// kernelMounts reports by an error of type cannot why the kernel doesn't mount overlay here; full says that there are
// layers already.
func (h driverHome) kernelMounts(full bool) error {
	// The driver remembers that a mount program was in use, because such a program may keep deleted files its own way.
	flag := filepath.Join(h.dir, ".has-mount-program")
	if content, err := os.ReadFile(flag); err == nil && strings.TrimSpace(string(content)) == "true" {
		if full {
			return cannot("the store was written with fuse-overlayfs")
		}
		_ = os.Remove(flag)
	}
	// A "no" is remembered as well, and outlives an upgrade of the kernel where run-time files outlive a boot.
	_ = os.Remove(filepath.Join(h.run, "overlay-false"))
	existed := exists(h.dir)
	works, err := overlay.SupportsNativeOverlay(h.dir, h.run)
	if works && err == nil {
		return nil
	}
	if !existed {
		h.remove()
	}
	return cannot(fmt.Sprintf("the kernel doesn't mount overlay here (%s)", h.refusal(err)))
}

// refusal says why the kernel doesn't mount overlay; the library only logs it. err is used when a mount does work.
func (h driverHome) refusal(err error) string {
	root := filepath.Dir(h.dir)
	if failed := h.kernelTrial(); failed != nil {
		return kernelRefusal(root, failed)
	}
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("the trial on %s failed", fileSystem(root))
}

// kernelTrial mounts and uses an overlay on the store's file system the way the driver does.
func (h driverHome) kernelTrial() error {
	return mountTrial(filepath.Dir(h.dir), func(t trial) error {
		data := t.options()
		if unshare.IsRootless() {
			data += ",userxattr"
		}
		return unix.Mount("overlay", t.merged, "overlay", 0, data)
	})
}

// kernelRefusal says why the kernel didn't mount a trial on the file system of root.
func kernelRefusal(root string, err error) string {
	switch {
	case errors.Is(err, syscall.ENODEV):
		return "it has no overlay file system"
	case errors.Is(err, syscall.EPERM):
		return fmt.Sprintf("%s refuses, ordinary users need 5.13 or later", release())
	case errors.Is(err, syscall.EINVAL):
		return fmt.Sprintf("%s can't be the upper file system", fileSystem(root))
	}
	return err.Error()
}

// fuseMounts returns the path of fuse-overlayfs if it works here, else an error of type cannot.
func (h driverHome) fuseMounts() (string, error) {
	path, err := exec.LookPath(fuseOverlay)
	if err != nil {
		return "", cannot("fuse-overlayfs isn't installed")
	}
	if err := fuseDevice(); err != nil {
		return "", err
	}
	err = mountTrial(filepath.Dir(h.dir), func(t trial) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, "-o", t.options(), t.merged)
		// It goes on as a daemon: a pipe held open by that would never end. A file doesn't keep Wait waiting.
		output, err := os.Create(filepath.Join(t.dir, "output"))
		if err != nil {
			return err
		}
		defer output.Close()
		cmd.Stdout, cmd.Stderr = output, output
		if err := cmd.Run(); err != nil {
			said, _ := os.ReadFile(output.Name())
			return fmt.Errorf("%w: %s", err, bytes.Join(bytes.Fields(said), []byte(" ")))
		}
		return nil
	})
	if err != nil {
		return "", cannot(fmt.Sprintf("%s fails (%v)", path, err))
	}
	return path, nil
}

// fuseDevice returns an error of type cannot if /dev/fuse can't be used.
func fuseDevice() error {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return cannot(fmt.Sprintf("fuse-overlayfs can't open /dev/fuse (%v)", errors.Unwrap(err)))
	}
	device.Close()
	return nil
}

// programMounts returns an error of type cannot if the program that the driver options name can't be used.
func programMounts(program string) error {
	info, err := os.Stat(program)
	if err != nil {
		return cannot(fmt.Sprintf("mount_program %s can't be found (%v)", program, errors.Unwrap(err)))
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return cannot(fmt.Sprintf("mount_program %s isn't a program", program))
	}
	if filepath.Base(program) == fuseOverlay {
		return fuseDevice()
	}
	return nil
}

// trial is a set of directories to mount an overlay from.
type trial struct{ dir, lower, upper, work, merged string }

func (t trial) options() string {
	return fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", t.lower, t.upper, t.work)
}

// mountTrial makes a trial's directories in dir, mounts with mount, writes a file through it and takes all away again.
// It returns the first error.
func mountTrial(dir string, mount func(trial) error) error {
	dir, err := os.MkdirTemp(dir, "rlbuild-trial-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t := trial{dir: dir}
	for name, path := range map[string]*string{"lower": &t.lower, "upper": &t.upper, "work": &t.work, "merged": &t.merged} {
		*path = filepath.Join(dir, name)
		if err := os.Mkdir(*path, 0o700); err != nil {
			return err
		}
	}
	if err := mount(t); err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(t.merged, "file"), []byte("x"), 0o600)
	if err2 := unix.Unmount(t.merged, unix.MNT_DETACH); err == nil {
		err = err2
	}
	return err
}

// release returns the kernel's name and release.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "the kernel"
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}
