package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/store"
)

// workshop is what a run works in: a temporary directory, the store and the engine.
type workshop struct {
	tempDir string
	store   *store.Store
	engine  *engine.Builder
}

// openWorkshop makes it, inside the namespaces. What is built gets the time created, if it isn't nil. Close it.
func (f *flags) openWorkshop(std streams, dir string, singleID bool, created *time.Time) (w *workshop, err error) {
	env := os.Environ() // of host commands, before anything is changed for the libraries
	if err := os.Setenv("PATH", withAdministration(os.Getenv("PATH"))); err != nil {
		return nil, err
	}
	w = &workshop{}
	defer func(opened *workshop) {
		if err != nil {
			err = joined(err, opened.close())
		}
	}(w)
	if w.tempDir, err = makeTempDir(); err != nil {
		return nil, err
	}
	if w.store, err = store.Open(store.Options{
		Root:          f.root,
		RunRoot:       f.runRoot,
		Driver:        f.driver,
		DriverOptions: f.driverOptions,
		ImageStore:    f.imageStore,
		Transient:     f.transientStore,
		SingleID:      singleID,
		Note:          f.note(std),
	}); err != nil {
		return nil, err
	}
	display := output.New(std.err)
	if f.quiet {
		display = output.New(nil)
	}
	o := engine.Options{
		Store:        w.store,
		TempDir:      w.tempDir,
		Display:      display,
		Info:         f.info(std),
		Note:         f.note(std),
		Dir:          dir,
		Env:          env,
		Terminal:     userTerminal(),
		Isolation:    f.isolation,
		Runtime:      f.runtime,
		CommitMethod: f.commitMethod,
		Registries: engine.Registries{
			AuthFile:        f.authFile,
			CertDir:         f.certDir,
			SignaturePolicy: f.signaturePolicy,
			Conf:            f.registriesConf,
			ConfDir:         f.registriesConfDir,
			ShortNames:      f.shortNames,
		},
		Created: created,
		Keep:    f.keep,
		Logger:  logrus.StandardLogger(),
	}
	if f.changed("tls-verify") {
		o.Registries.TLSVerify = &f.tlsVerify
	}
	if w.engine, err = engine.New(o); err != nil {
		return nil, err
	}
	return w, nil
}

// withAdministration returns PATH with the directories behind it that ordinary users' PATH often lacks, where mkfs and
// OCI runtimes are: the libraries look for programs in the process's own.
func withAdministration(path string) string {
	dirs := filepath.SplitList(path)
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// userTerminal returns the terminal that steps with one are connected to.
func userTerminal() *engine.Terminal {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	t := &engine.Terminal{Out: os.Stderr}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		t.In = os.Stdin
	}
	return t
}

// makeTempDir makes the run's own temporary directory and points the libraries at it, so that nothing of theirs is left
// behind when it goes.
func makeTempDir() (string, error) {
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = "/var/tmp" // layers are large, and /tmp is often memory
	}
	dir, err := os.MkdirTemp(parent, "rlbuild-")
	if err != nil {
		return "", failure.New("making", "a temporary directory in "+parent, "%w", errors.Unwrap(err)).WithKind(failure.Machine).
			WithHint("name a directory of your own in TMPDIR.")
	}
	return dir, os.Setenv("TMPDIR", dir)
}

// close ends what was opened, in the opposite order.
func (w *workshop) close() error {
	var errs []error
	if w.engine != nil {
		errs = append(errs, w.engine.Close())
	}
	if w.store != nil {
		errs = append(errs, w.store.Close())
	}
	if w.tempDir != "" && !errors.Is(errors.Join(errs...), engine.ErrMounted) {
		errs = append(errs, os.RemoveAll(w.tempDir))
	}
	return errors.Join(errs...)
}
