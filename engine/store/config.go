package store

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/trouble"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"
	"go.podman.io/storage/types"
)

// configuration is what storage.conf says, without the environment's overrides.
type configuration struct {
	path   string // of the main file; "" when there is none
	driver string
}

// readConfig reads storage.conf the way the library does.
func readConfig() (configuration, error) {
	file := configfile.File{
		Name: "storage", Extension: "conf", EnvironmentName: "CONTAINERS_STORAGE_CONF", UserId: unshare.GetRootlessUID(),
	}
	var c configuration
	paths, err := configfile.GetSearchPaths(&file)
	if err != nil {
		return c, c.bad(err)
	}
	if i := slices.IndexFunc(paths.MainFiles, exists); i >= 0 {
		c.path = paths.MainFiles[i]
	}
	var content types.TomlConfig
	if err := configfile.ParseTOML(&content, &file); err != nil {
		return c, c.bad(err)
	}
	c.driver = content.Storage.Driver
	return c, nil
}

// bad is the failure for a configuration that can't be read, often because there's no home directory to look in.
func (c configuration) bad(err error) error {
	e := failure.New("reading storage.conf", c.path, "%w", err).WithKind(failure.Machine)
	if c.path == "" {
		return e.WithHint("Set HOME to a directory of your own, and see that CONTAINERS_STORAGE_CONF, if set, names a file.")
	}
	return e.WithHint("Correct the file, or name another one with CONTAINERS_STORAGE_CONF.")
}

// driverOptions returns the options to pass to a driver. Those of storage.conf that name no driver were written with
// overlay in mind, and vfs refuses most of them: there they are left out. Options that the caller gave are passed on as
// they are.
func driverOptions(options []string, driver string, given bool) []string {
	options = slices.Clone(options)
	if given || driver != "vfs" {
		return options
	}
	return slices.DeleteFunc(options, func(option string) bool {
		key, _, _ := strings.Cut(option, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		return key != "imagestore" && key != "ignore_chown_errors" && !strings.Contains(key, ".")
	})
}

// optionValue returns the last value of key among options, for any driver, or "".
func optionValue(options []string, key string) string {
	value := ""
	for _, option := range options {
		name, v, _ := strings.Cut(option, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if name == key || strings.HasSuffix(name, "."+key) {
			value = strings.TrimSpace(v)
		}
	}
	return value
}

// openFailure names the cause and cure of an error of the library.
func openFailure(o Options, options types.StoreOptions, err error) error {
	e := failure.New("opening the store", options.GraphRoot, "%w", err).WithKind(failure.Machine)
	text := err.Error()
	switch {
	case strings.Contains(text, "unknown option"), strings.Contains(text, "key/value option"), strings.Contains(text, "unknown driver"):
		if len(o.DriverOptions) > 0 {
			return e.WithKind(failure.Usage).WithHint("Options are written DRIVER.NAME=VALUE; containers-storage.conf(5) lists them.")
		}
		return e.WithHint("Correct the options in storage.conf or STORAGE_OPTS; containers-storage.conf(5) lists them.")
	case errors.Is(err, fs.ErrPermission):
		var at *fs.PathError
		if !errors.As(err, &at) {
			break
		}
		if o := reach.Find(at.Path, reach.Write); o != nil && !o.Missing {
			return trouble.StoreClosed.Explain(e.Op, e.Subject, err, trouble.Facts{"obstacle": refused(at.Path, o)})
		}
	}
	return e
}

// list writes words as "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return fmt.Sprintf("%s and %s", strings.Join(words[:len(words)-1], ", "), words[len(words)-1])
}
