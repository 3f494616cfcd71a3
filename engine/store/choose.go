package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/trouble"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/types"
)

// drivers are those that can be named. btrfs and device mapper are left out of the build: they need C libraries.
var drivers = []string{"overlay", "vfs", "zfs"}

// slow says what the slow driver costs.
const slow = "slow: it copies the whole root file system for every container and layer"

// wish is which drivers to try, and why.
type wish struct {
	root    string
	drivers []string // in this order; one with a reason is meant alone
	reason  string   // why the one; "" when the first that works is taken
	asked   bool     // the user named it, in whatever way
	quiet   bool     // … in this very command, and needs no telling
	held    []string // drivers whose folders are in the store
	layers  []string // drivers that have layers in it
}

// attempt is one way to open the store.
type attempt struct {
	driver  string
	program string // overlay is to be mounted by this program; "" for the kernel
	named   bool   // the program is that of the driver options
	full    bool   // the store has layers of this driver
}

// choose decides what to try for the store of options. given is the driver the caller names, c the configuration.
func choose(given string, options types.StoreOptions, c configuration) (wish, error) {
	w := wish{root: options.GraphRoot, quiet: given != ""}
	imageRoot := options.ImageStore
	if imageRoot == "" {
		imageRoot = options.GraphRoot
	}
	var images []string
	for _, driver := range drivers {
		if exists(filepath.Join(options.GraphRoot, driver)) {
			w.held = append(w.held, driver)
		}
		if hasEntries(filepath.Join(imageRoot, driver+"-images", "images.json")) {
			images = append(images, driver)
		}
		if hasEntries(filepath.Join(options.GraphRoot, driver+"-layers", "layers.json")) {
			w.layers = append(w.layers, driver)
		}
	}
	name, reason := given, "was asked for"
	if name == "" {
		name, reason = options.GraphDriverName, "is named by STORAGE_DRIVER"
		if c.driver == name {
			reason = "is named by " + c.path
		}
	}
	switch {
	case name != "":
		name = canonical(name)
		if !slices.Contains(drivers, name) {
			return wish{}, failure.New("opening the store", options.GraphRoot, "driver %q %s, and there is none", name, reason).
				WithHint("The drivers are %s.", list(drivers)).WithKind(failure.Usage)
		}
		w.drivers, w.reason, w.asked = []string{name}, reason, true
	case len(images) > 0:
		w.drivers, w.reason = images[:1], "holds the store's images"
	case len(w.layers) > 0:
		w.drivers, w.reason = w.layers[:1], "holds the store's layers"
	case len(options.GraphDriverPriority) > 0:
		w.drivers = options.GraphDriverPriority
	default:
		w.drivers = []string{"overlay", "vfs"}
	}
	return w, nil
}

// canonical returns the name a driver goes by in containers-storage; overlay2 is docker's.
func canonical(driver string) string {
	if driver == "overlay2" {
		return "overlay"
	}
	return driver
}

// attempts returns the ways to try, best first. program is the mount program of the driver options, if any.
func (w wish) attempts(program string) []attempt {
	var all []attempt
	for _, driver := range w.drivers {
		a := attempt{driver: canonical(driver)}
		a.full = slices.Contains(w.layers, a.driver)
		if a.driver == "overlay" && program != "" {
			a.program, a.named = program, true
		}
		all = append(all, a)
		if a.driver == "overlay" && !a.named {
			a.program = fuseOverlay
			all = append(all, a)
		}
	}
	return all
}

// because returns the reason for the attempt that worked after those that failed with faults.
func (w wish) because(a attempt, faults []error) string {
	switch {
	case w.reason != "":
		return w.reason
	case a.driver == "overlay" && a.program == "":
		return "works here, mounted by the kernel"
	case a.driver == "overlay" && a.named:
		return "works here, mounted by the program that the driver options name"
	case a.driver == "overlay":
		return "works here with fuse-overlayfs, since " + text(faults)
	case len(faults) > 0:
		return "is what works here, since " + text(faults)
	}
	return "comes first in driver_priority of storage.conf"
}

// sweep removes the empty folders of other drivers from a store that held nothing: one look by an older podman leaves
// those of vfs, and podman and buildah would refuse a store with those of overlay beside them.
func (w *wish) sweep(note func(string), chosen Choice) {
	if w.reason != "" {
		return
	}
	w.held = slices.DeleteFunc(w.held, func(driver string) bool {
		home := driverHome{dir: filepath.Join(w.root, driver)}
		if driver == chosen.Driver {
			return false
		}
		home.remove()
		gone := !exists(home.dir)
		if gone {
			note(fmt.Sprintf("%s held the empty folder of the driver %s, which is removed: %s is used", w.root, driver, chosen.Driver))
		}
		return gone
	})
}

// tell notes what the user should know about the choice, each thing once and in one line.
func (w wish) tell(note func(string), chosen Choice) {
	held := w.held
	if !slices.Contains(held, chosen.Driver) { // it was made just now
		held = append([]string{chosen.Driver}, held...)
	}
	if len(held) > 1 && !w.quiet {
		reason := w.reason
		if reason == "" {
			reason = "is the faster one"
		}
		note(trouble.SeveralDrivers.Reason(nil, trouble.Facts{
			"path": w.root, "drivers": list(held), "driver": chosen.Driver, "reason": reason}).Error())
	}
	if chosen.Driver == "vfs" && !w.asked {
		note(trouble.SlowDriver.Reason(nil, trouble.Facts{"slow": slow, "reason": chosen.Reason}).Error())
	}
}

// impossible is the failure when no attempt worked.
func (w wish) impossible(faults []error) error {
	e := failure.New("opening the store", w.root, "%s %s, but %s", w.drivers[0], w.reason, text(faults)).WithKind(failure.Machine)
	if w.reason == "" {
		e.Err = fmt.Errorf("no driver works here: %s", text(faults))
	}
	if w.asked || w.reason == "" {
		return e.WithHint("Name no driver, or vfs (%s), or put the store on another file system with --root.", slow)
	}
	return e.WithHint("Make the store usable again, install fuse-overlayfs perhaps, or start another one with --root.")
}

// text joins the reasons why attempts failed.
func text(faults []error) string {
	var words []string
	for _, fault := range faults {
		words = append(words, fault.Error())
	}
	return list(words)
}

// hasEntries reports whether the file holds a JSON list that isn't empty: storage's images.json and layers.json.
func hasEntries(path string) bool {
	content, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var entries []json.RawMessage
	err = json.Unmarshal(content, &entries)
	return err == nil && len(entries) > 0
}

// cannot is why a driver can't work here.
type cannot string

func (c cannot) Error() string { return string(c) }

// unsupported reports whether err says that a driver can't work here, as opposed to the store being broken.
func unsupported(err error) bool {
	return errors.As(err, new(cannot)) || errors.Is(err, graphdriver.ErrNotSupported) ||
		errors.Is(err, graphdriver.ErrPrerequisites) || errors.Is(err, graphdriver.ErrIncompatibleFS)
}
