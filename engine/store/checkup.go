package store

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"

	"go.podman.io/storage/types"

	"github.com/rlbuild/rlbuild/engine/checkup"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// area is what the findings about the store are grouped by.
const area = "store"

// Inspection is what Checkup looks at besides the options.
type Inspection struct {
	Opened  *Store // nil when it couldn't be opened,
	Failure error  // and why
	TempDir string // where the run's temporary directory is made
}

// Checkup says how it is with the store that the options name: its configuration, the drivers, each tried on its file system,
// the directories that it and the run's temporary files are in, and the owners of what it holds. It comes after Open and
// changes nothing that Open doesn't.
func Checkup(o Options, at Inspection) []checkup.Finding {
	config, err := readConfig()
	if err != nil {
		return []checkup.Finding{failed("storage.conf", err)}
	}
	all := []checkup.Finding{configFinding(config)}
	options, err := types.LoadStoreOptions(types.LoadOptions{})
	if err == nil {
		err = o.apply(&options)
	}
	if err != nil {
		return append(all, failed("store", err))
	}
	if at.Opened == nil {
		all = append(all, failed("store", at.Failure))
	} else {
		choice := at.Opened.Choice
		all = append(all, checkup.Finding{Area: area, Name: "store", Verdict: checkup.OK, Found: choice.Root + ", state in " + choice.RunRoot},
			driverFinding(choice))
	}
	all = append(all, trials(options, at.Opened)...)
	if held := heldDrivers(options.GraphRoot); len(held) > 1 {
		all = append(all, severalDrivers(options.GraphRoot, held, at.Opened))
	}
	if at.Opened != nil {
		all = append(all, foreignFinding(at.Opened))
	}
	driver := ""
	if at.Opened != nil {
		driver = at.Opened.Choice.Driver
	}
	for _, d := range []directory{
		{name: "store", path: options.GraphRoot, option: "--root", driver: driver, space: storeSpace, inodes: storeInodes},
		{name: "run root", path: options.RunRoot, option: "--runroot", space: runSpace},
		{name: "TMPDIR", path: at.TempDir, option: "TMPDIR", temporary: true, space: tempSpace},
	} {
		all = append(all, d.findings()...)
	}
	return all
}

func failed(name string, err error) checkup.Finding {
	if err == nil {
		err = errors.New("not tried")
	}
	return checkup.Finding{Area: area, Name: name, Verdict: checkup.Failed, Found: err.Error(), Cure: failure.HintOf(err)}
}

func configFinding(c configuration) checkup.Finding {
	f := checkup.Finding{Area: area, Name: "storage.conf", Verdict: checkup.OK, Found: c.path}
	switch {
	case c.path == "":
		f.Found = "none, and none is needed"
	case c.driver != "":
		f.Found += ", which names the driver " + c.driver
	}
	return f
}

func driverFinding(c Choice) checkup.Finding {
	f := checkup.Finding{Area: area, Name: "driver", Verdict: checkup.OK, Found: c.Driver + ", which " + c.Reason}
	if c.Driver == "vfs" {
		f.Verdict, f.Found = checkup.Limited, f.Found+"; "+slow
		f.Cure = trouble.SlowDriver.Cure
	}
	return f
}

// trials tries the ways to mount layers on the store's file system.
func trials(options types.StoreOptions, opened *Store) []checkup.Finding {
	used := ""
	if opened != nil {
		used = opened.Choice.Driver
		if opened.Choice.MountProgram != "" {
			used = "fuse"
		}
	}
	home := driverHome{dir: filepath.Join(options.GraphRoot, "overlay"), run: filepath.Join(options.RunRoot, "overlay")}
	on := fileSystem(options.GraphRoot)
	kernel := checkup.Finding{Area: area, Name: "kernel overlay", Verdict: checkup.OK,
		Found: fmt.Sprintf("a trial on %s worked, %s", on, release())}
	if err := home.kernelTrial(); err != nil {
		kernel.Verdict, kernel.Found = checkup.Limited, fmt.Sprintf("a trial on %s failed: %s", on, kernelRefusal(options.GraphRoot, err))
		kernel.Cure = "Put the store on a local file system (ext4, xfs, btrfs, tmpfs) with --root; ordinary users need Linux 5.13 or later."
	}
	fuse := checkup.Finding{Area: area, Name: "fuse-overlayfs", Verdict: checkup.OK}
	if path, err := home.fuseMounts(); err == nil {
		fuse.Found = fmt.Sprintf("a trial on %s worked, %s", on, path)
	} else {
		fuse.Found = err.Error()
		// Nobody misses it where the kernel does the work.
		if kernel.Verdict != checkup.OK || used == "fuse" {
			fuse.Verdict, fuse.Cure = checkup.Limited, "Install fuse-overlayfs, and see that your user can open /dev/fuse."
		} else if _, err := exec.LookPath(fuseOverlay); err == nil {
			fuse.Found += "; it isn't needed here"
		}
	}
	vfs := checkup.Finding{Area: area, Name: "vfs", Verdict: checkup.OK, Found: "needs nothing, not used; " + slow}
	if used == "vfs" {
		vfs.Verdict, vfs.Found = checkup.Limited, "in use; "+slow
	}
	return []checkup.Finding{kernel, fuse, vfs}
}

// heldDrivers returns the drivers that have folders in the store.
func heldDrivers(root string) []string {
	return slices.DeleteFunc(slices.Clone(drivers), func(driver string) bool { return !exists(filepath.Join(root, driver)) })
}

func severalDrivers(root string, held []string, opened *Store) checkup.Finding {
	var filled []string
	for _, driver := range held {
		if hasEntries(filepath.Join(root, driver+"-layers", "layers.json")) || hasEntries(filepath.Join(root, driver+"-images", "images.json")) {
			filled = append(filled, driver)
		}
	}
	f := checkup.Finding{Area: area, Name: "folders of drivers", Verdict: checkup.Limited,
		Found: fmt.Sprintf("%s holds the folders of %s", root, list(held))}
	switch {
	case len(filled) > 1:
		f.Found += ", and " + list(filled) + " have layers: each sees its own alone"
	case len(filled) == 1:
		f.Found += ", of which " + filled[0] + " has layers"
	}
	if opened != nil {
		f.Found += "; " + opened.Choice.Driver + " is used"
	}
	name := "overlay"
	if opened != nil {
		name = opened.Choice.Driver
	}
	f.Cure = fmt.Sprintf("Podman and buildah refuse such a store unless storage.conf names the driver: driver = %q.", name)
	if opened != nil && len(filled) == 1 && filled[0] == name {
		others := slices.DeleteFunc(slices.Clone(held), func(driver string) bool { return driver == name })
		f.Cure += " Or remove what is empty: " + list(others) + "."
	}
	return f
}

func foreignFinding(s *Store) checkup.Finding {
	f := checkup.Finding{Area: area, Name: "owners of files", Verdict: checkup.OK, Found: "every owner found in the layers is mapped"}
	found, whole := searchForeign(s)
	if !whole {
		f.Found = fmt.Sprintf("every owner found is mapped, among the first %d files or those of %v", mostFiles, mostSearch)
	}
	if len(found) == 0 {
		return f
	}
	facts := foreignFacts(found.first())
	f.Verdict, f.Found, f.Cure = checkup.Limited, trouble.OtherMap.Reason(nil, facts).Error(), trouble.OtherMap.Hint(facts)
	if n := len(found) - 1; n > 0 {
		f.Found += fmt.Sprintf(", and so it is in %d more layers", n)
	}
	return f
}
