// Package store opens the user's containers-storage and closes it again. It picks the driver that holds files and layers
// and says why it picked it, so that nobody wonders where the images went or why a build is slow.
package store

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/journal"
	"go.podman.io/storage"
	_ "go.podman.io/storage/drivers/register" // the drivers themselves
	"go.podman.io/storage/types"
	"golang.org/x/sys/unix"
)

// Options say which store to open and how. What is empty comes from storage.conf, and from the environment variables
// that the library reads itself: STORAGE_DRIVER, STORAGE_OPTS, CONTAINERS_STORAGE_CONF.
type Options struct {
	Root          string            // directory of images, layers and containers
	RunRoot       string            // directory of locks and mount counts; see Choice for a Root without one
	Driver        string            // "overlay", "vfs", …; drops the driver options of storage.conf, as buildah's flag does
	DriverOptions []string          // "overlay.mountopt=nodev", …; instead of those of storage.conf
	ImageStore    string            // directory that images and their layers are kept in, instead of Root
	Transient     bool              // records of containers are kept in RunRoot, gone with the next boot
	SingleID      bool              // only one ID is mapped: a file's other owners are given up instead of failing
	Stop          <-chan struct{}   // when it is closed, layers are read and written no further; nil never is
	Note          func(line string) // takes one-line notes for the user, without a trailing newline; nil drops them
}

// Choice says what was opened and why.
type Choice struct {
	Driver       string // "overlay", "vfs", …
	Reason       string // why this driver, as the rest of a sentence that begins with it
	MountProgram string // mounts overlay in the kernel's place; "" when the kernel does
	Root         string // absolute
	RunRoot      string // absolute; for a Root given without RunRoot, a directory below the usual one, named for the root
	Config       string // path of the main storage.conf in force; "" when there is none
}

// Store is an open store. Close it once, when nothing uses it any more.
type Store struct {
	storage.Store
	Choice Choice

	owner   *ownership // nil until Own
	keeping bool       // see ForKeeps
	caching bool       // see Caching
	heights *heights   // of layers
	foreign foreign    // where only one ID is mapped, that is nothing new, and none
}

// Open opens the store, and makes it if there is none. The process must be inside a namespace (see package rootless) and
// stay there. Two stores of one process with the same directories are the same store.
//
// The driver is, in this order: that of the options; that of STORAGE_DRIVER, or of storage.conf; the one that already
// holds images here, or else layers; and for a store that holds nothing the first that a trial shows to work, of overlay
// mounted by the kernel, overlay mounted by fuse-overlayfs, and vfs. Another than the one asked for, or than the one
// that holds something, is never used.
//
// An error is a *failure.Error: of kind Usage for a driver or option that doesn't exist, of kind Machine for the rest.
func Open(o Options) (*Store, error) {
	note := o.Note
	if note == nil {
		note = func(string) {}
	}
	config, err := readConfig()
	if err != nil {
		return nil, err
	}
	options, err := types.LoadStoreOptions(types.LoadOptions{})
	if err != nil {
		return nil, config.bad(err)
	}
	if err := o.apply(&options); err != nil {
		return nil, err
	}
	want, err := choose(o.Driver, options, config)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{options.GraphRoot, options.RunRoot} {
		if err := makeDir(dir); err != nil {
			return nil, err
		}
	}
	var faults []error
	for _, a := range want.attempts(optionValue(options.GraphDriverOptions, "mount_program")) {
		s, err := a.open(&options, o)
		if err == nil {
			chosen := Choice{
				Driver: a.driver, MountProgram: a.program, Reason: want.because(a, faults),
				Root: options.GraphRoot, RunRoot: options.RunRoot, Config: config.path,
			}
			if err := chosen.closed(); err != nil {
				return nil, err
			}
			want.sweep(note, chosen)
			want.tell(note, chosen)
			opened := &Store{Store: stoppable{s, o.Stop}, Choice: chosen, heights: &heights{known: map[string]int{}}}
			if !o.SingleID {
				opened.foreign = findForeign(opened)
				opened.foreign.tell(note, chosen.Root)
			}
			return opened, nil
		}
		if !unsupported(err) {
			return nil, openFailure(o, options, err)
		}
		faults = append(faults, err)
	}
	return nil, want.impossible(faults)
}

// JournalDir is where the journals of the runs on this store are.
func (s *Store) JournalDir() string { return filepath.Join(resolved(s.Choice.RunRoot), "rlbuild") }

// JournalHeader is what the journals of the runs on this store begin with.
func (s *Store) JournalHeader() journal.Header {
	return journal.Header{Root: resolved(s.Choice.Root), Driver: s.Choice.Driver, Owners: journal.Owners()}
}

// resolved returns a directory's path without links, the same for all runs and as the kernel knows it.
func resolved(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir // what it is needed for fails, and says why
}

// Close lets go of the store's driver. Layers that are still mounted, by this run or by another one, stay mounted; that
// is no error. An error is a *failure.Error of kind Machine.
func (s *Store) Close() error {
	if !s.Writable() {
		return nil
	}
	if _, err := s.Shutdown(false); err != nil && !errors.Is(err, storage.ErrLayerUsedByContainer) {
		return failure.New("closing the store", s.Choice.Root, "%w", err).WithKind(failure.Machine)
	}
	return nil
}

// Writable reports whether the store's file systems can still be written. Where they can't, the library's locks panic, and keep
// what they hold.
func (s *Store) Writable() bool {
	return !ReadOnly(s.Choice.Root) && !ReadOnly(s.Choice.RunRoot)
}

// ReadOnly reports whether a directory's file system takes no changes. It tries: one that the kernel has shut for its errors
// isn't always mounted read-only.
func ReadOnly(dir string) bool {
	if unix.Access(dir, unix.W_OK) == unix.EROFS {
		return true
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err == unix.EROFS
}

// open opens the store in this way, and completes a.program. An error for which unsupported holds means that another way
// may do.
func (a *attempt) open(base *types.StoreOptions, o Options) (storage.Store, error) {
	options := *base
	options.GraphDriverName = a.driver
	options.GraphDriverOptions = driverOptions(base.GraphDriverOptions, a.driver, len(o.DriverOptions) > 0)
	home := driverHome{dir: filepath.Join(base.GraphRoot, a.driver), run: filepath.Join(base.RunRoot, a.driver)}
	existed := exists(home.dir) // before the trial, which makes it
	if a.driver == "overlay" {
		if err := a.tryMount(home); err != nil {
			return nil, err
		}
		if a.program != "" && !a.named {
			options.GraphDriverOptions = append(options.GraphDriverOptions, "overlay.mount_program="+a.program)
		}
	}
	if o.SingleID && (a.driver == "overlay" || a.driver == "vfs") &&
		optionValue(options.GraphDriverOptions, "ignore_chown_errors") == "" {
		options.GraphDriverOptions = append(options.GraphDriverOptions, a.driver+".ignore_chown_errors=true")
	}
	s, err := storage.GetStore(options)
	if err != nil && !existed {
		home.remove() // or the next program finds two drivers' folders
	}
	return s, err
}

// tryMount finds out whether overlay can be mounted the way a says. It replaces a.program's name by its path.
func (a *attempt) tryMount(home driverHome) (err error) {
	switch {
	case a.named:
		return programMounts(a.program)
	case a.program == "":
		return home.kernelMounts(a.full)
	}
	a.program, err = home.fuseMounts()
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
