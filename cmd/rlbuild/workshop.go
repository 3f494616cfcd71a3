package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/store"
)

// workshop is what a run works in: the store, the journal of what the run owns, a temporary directory and the engine.
type workshop struct {
	store   *store.Store
	journal *journal.Journal
	tempDir string
	engine  *engine.Builder
}

// openWorkshop makes it, inside the namespaces, for a run that ends with ctx. What is built gets the time created, if it isn't
// nil. Close it.
func (f *flags) openWorkshop(ctx context.Context, std streams, dir string, singleID bool, created *time.Time) (w *workshop, err error) {
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
	if w.store, err = f.openStore(ctx, std, singleID); err != nil {
		return nil, err
	}
	if w.journal, err = f.beginJournal(ctx, std, w.store); err != nil {
		return nil, err
	}
	if w.tempDir, err = makeTempDir(w.journal); err != nil {
		return nil, err
	}
	display := output.New(std.err)
	if f.quiet {
		display = output.New(nil)
	}
	o := engine.Options{
		Store:        w.store,
		Journal:      w.journal,
		TempDir:      w.tempDir,
		PointTempDir: func(dir string) error { return os.Setenv("TMPDIR", dir) },
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
		Inspect: f.inspect,
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

// openStore opens the store that the flags name, inside the namespaces, for work that ends with ctx.
func (f *flags) openStore(ctx context.Context, std streams, singleID bool) (*store.Store, error) {
	o := f.storeOptions(std, singleID)
	o.Stop = ctx.Done()
	return store.Open(o)
}

// storeOptions say which store that is.
func (f *flags) storeOptions(std streams, singleID bool) store.Options {
	return store.Options{
		Root:          f.root,
		RunRoot:       f.runRoot,
		Driver:        f.driver,
		DriverOptions: f.driverOptions,
		ImageStore:    f.imageStore,
		Transient:     f.transientStore,
		SingleID:      singleID,
		Note:          f.note(std),
	}
}

// beginJournal opens the run's journal, and takes away what dead runs have left. One that only looks leaves that as it is.
func (f *flags) beginJournal(ctx context.Context, std streams, s *store.Store) (*journal.Journal, error) {
	j, err := journal.Begin(ctx, s.JournalDir(), s.JournalHeader())
	switch {
	case ctx.Err() != nil:
		return nil, errors.Join(context.Cause(ctx), j.End())
	case errors.Is(err, journal.ErrUnsafe):
		return nil, failure.New("opening the journal of this run in", s.JournalDir(), "%w", err).WithKind(failure.Machine).
			WithHint("see who made it and why, then remove it, or let only yourself write there: chmod 700; --runroot names another run root.")
	case err != nil:
		return nil, failure.New("opening the journal of this run in", s.JournalDir(), "%w", err).WithKind(failure.Machine).
			WithHint("see that the run root is a directory that you can write to, and has room; --runroot names another.")
	}
	if err := errors.Join(j.Mark(), s.Own(j)); err != nil {
		return nil, errors.Join(err, j.End())
	}
	if f.inspect {
		return j, nil
	}
	found, err := engine.Reclaim(ctx, s, false)
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), j.End())
	}
	note := f.note(std)
	if err != nil {
		note(fmt.Sprintf("what killed runs have left is still there: %v", err)) // this run can do without
		return j, nil
	}
	if len(found.Gone) > 0 {
		note(fmt.Sprintf("cleaned up after %s: %s", killedRuns(found.Runs), found.Summary()))
	}
	if len(found.Left) > 0 {
		note(fmt.Sprintf("left by %s: %s", killedRuns(max(found.Runs, 1)), strings.Join(found.Left, "; ")))
	}
	return j, nil
}

func killedRuns(n int) string {
	if n == 1 {
		return "a killed run"
	}
	return fmt.Sprintf("%d killed runs", n)
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

// tempParent is where temporary files are.
func tempParent() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	return "/var/tmp" // layers are large, and /tmp is often memory
}

// makeTempDir makes the run's own temporary directory and points the libraries at it, so that nothing of theirs is left
// behind when it goes.
func makeTempDir(j *journal.Journal) (string, error) {
	parent, err := filepath.Abs(tempParent())
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(parent); err == nil { // as the kernel names what is mounted in it
		parent = real
	}
	dir := filepath.Join(parent, "rlbuild-"+j.ID())
	if err := j.Note(journal.Temporary, dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
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
	unfinished := w.engine != nil && w.engine.Unfinished()
	if w.tempDir != "" && !errors.Is(errors.Join(errs...), store.ErrMounted) {
		// A call that goes on may mount something there, or make files, as long as this process lives.
		if err := rootfs.RemoveAll(w.tempDir); !unfinished {
			errs = append(errs, err)
		}
	}
	// Else it is for a later run to try again what couldn't be taken away.
	if errors.Join(errs...) == nil && !unfinished {
		errs = append(errs, w.journal.End())
	}
	if w.store != nil {
		errs = append(errs, w.store.Close())
	}
	return errors.Join(errs...)
}
