package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/rlbuild/rlbuild/builtins"
	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/rootless"
	"github.com/rlbuild/rlbuild/engine/script"
	"github.com/rlbuild/rlbuild/engine/silence"
	"github.com/rlbuild/rlbuild/engine/store"
)

// note returns what prints one-line notes.
func (f *flags) note(std streams) func(string) {
	return func(line string) {
		if f.says(logrus.WarnLevel) {
			fmt.Fprintf(std.err, "rlbuild: %s\n", output.Printable(line))
		}
	}
}

// info returns what prints what was chosen and why.
func (f *flags) info(std streams) func(string) {
	return func(line string) {
		if f.says(logrus.InfoLevel) {
			fmt.Fprintf(std.err, "rlbuild: %s\n", output.Printable(line))
		}
	}
}

// job is one script and how it was called.
type job struct {
	std      streams
	flags    *flags
	path     string // as given; "-" or "-c" for text that comes from elsewhere
	dir      string // where its relative paths start
	source   []byte // nil reads path
	args     map[string]string
	help     bool
	singleID bool
	limits   script.Limits
	tooLong  error // why the run ends when its time is over; nil for no limit
	session  *builtins.Session
	stop     context.CancelCauseFunc
	opened   atomic.Pointer[workshop] // once there is one
}

// runScript runs a script, or shows its help.
func runScript(std streams, f *flags, args []string) error {
	j := &job{std: std, flags: f, path: "-c", source: []byte(f.code)}
	if !f.changed("c") {
		j.path, args, j.source = args[0], args[1:], nil
	}
	if err := j.locate(); err != nil {
		return err
	}
	if err := j.parseArgs(args); err != nil {
		return err
	}
	var err error
	if j.limits, err = f.limits.check(); err != nil {
		return err
	}
	if j.path == "-" {
		// Standard input is read once, by the process inside.
		if !j.help {
			if err := j.enter(); err != nil {
				return err
			}
		}
		source, err := io.ReadAll(io.LimitReader(os.Stdin, script.MaxSource+1)) // Parse says what is wrong with more
		if err != nil {
			return failure.New("reading", "the script from standard input", "%w", err).WithKind(failure.Usage)
		}
		j.source = append([]byte{}, source...)
	}
	program, err := j.parse()
	if err != nil {
		return err
	}
	if j.help {
		return j.showHelp(program)
	}
	if err := j.checkArgs(program); err != nil {
		return err
	}
	if j.path != "-" {
		if err := j.enter(); err != nil {
			return err
		}
	}
	return j.run(program)
}

// locate finds the directory that relative paths start at.
func (j *job) locate() error {
	file := "."
	if j.path != "-" && j.path != "-c" {
		file = filepath.Dir(j.path)
	}
	dir, err := filepath.Abs(file)
	if err != nil {
		return failure.New("finding", "the current directory", "%w", err).WithKind(failure.Usage)
	}
	j.dir = dir
	return nil
}

func (j *job) parseArgs(args []string) error {
	j.args = map[string]string{}
	for _, arg := range args {
		if arg == "--help" || arg == "-h" {
			j.help = true
			continue
		}
		name, value, found := strings.Cut(arg, "=")
		if !found || name == "" {
			e := failure.New("argument", fmt.Sprintf("%q", arg), "is not NAME=VALUE").WithKind(failure.Usage)
			if strings.HasPrefix(arg, "-") {
				return e.WithHint("flags of rlbuild go in front of the script; a script's own arguments are NAME=VALUE.")
			}
			return e.WithHint("rlbuild %s --help lists the script's arguments.", j.path)
		}
		j.args[name] = value
	}
	return nil
}

func (j *job) parse() (*script.Program, error) {
	o := builtins.Options{Script: j.path, Dir: j.dir, Args: j.args, Env: environment()}
	if j.path != "-" {
		o.Input = os.Stdin
	}
	j.session = builtins.New(o)
	return script.Parse(script.Options{
		Path:        j.path,
		Source:      j.source,
		Dir:         j.dir,
		Predeclared: j.session.Predeclared(),
		Hints:       builtins.Hints(),
		Limits:      j.limits,
		Print:       j.print,
		Debug: func(text string) {
			if j.flags.says(logrus.DebugLevel) {
				fmt.Fprintln(j.std.err, text)
			}
		},
	})
}

// print prints a line of the script's. When nobody reads standard output any more the run stops as for a signal: what
// it made is cleaned up.
func (j *job) print(line string) {
	if _, err := fmt.Fprintln(j.std.out, line); err != nil && j.stop != nil {
		j.stop(failure.New("writing", "to standard output", "%w", err))
	}
}

func (j *job) enter() error {
	namespace, err := rootless.Enter(rootless.Options{Note: j.flags.note(j.std)})
	if err != nil {
		return err
	}
	j.singleID = namespace.SingleID
	return nil
}

func environment() map[string]string {
	all := map[string]string{}
	for _, line := range os.Environ() {
		name, value, _ := strings.Cut(line, "=")
		all[name] = value
	}
	return all
}

// checkArgs refuses arguments that the script doesn't have, before anything runs.
func (j *job) checkArgs(program *script.Program) error {
	var names []string
	for _, a := range arguments(program) {
		if a.name == "" {
			return failure.New("arg", "", "%s: the argument's name is not a literal string", a.pos).WithKind(failure.Usage).
				WithHint("write the name out, so that --help can list it.")
		}
		names = append(names, a.name)
	}
	for name := range j.args {
		if slices.Contains(names, name) {
			continue
		}
		e := failure.New("argument", name, "the script has none of that name").WithKind(failure.Usage)
		if near := script.Nearest(name, names); near != "" {
			return e.WithHint("did you mean %s?", near)
		}
		return e.WithHint("rlbuild %s --help lists the script's arguments.", j.path)
	}
	return nil
}

// run executes the program and cleans up, whatever happens. Only for a lock that another process doesn't give back it doesn't
// wait once it is interrupted.
func (j *job) run(program *script.Program) error {
	ctx, stop := context.WithCancelCause(context.Background())
	j.stop = stop
	defer stop(nil)
	defer catchSignals(stop)()
	if limit := j.flags.limits.timeout; limit > 0 {
		j.tooLong = j.flags.limits.errTimeout()
		defer time.AfterFunc(limit, func() { stop(j.tooLong) }).Stop()
	}
	created, err := sourceDateEpoch()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- j.build(silence.Watch(ctx, j.flags.registryTimeout), program, created) }()
	locked := make(chan string, 1)
	defer context.AfterFunc(ctx, func() { locked <- lockedOut() })()
	select {
	case err := <-ended:
		return err
	case file := <-locked:
		if w := j.opened.Load(); w != nil && w.engine != nil {
			w.engine.Abandon()
		}
		j.flags.note(j.std)(store.Holder(file) + " has locked " + file +
			": what this run made stays until the next run, or rlbuild prune, takes it away")
		return context.Cause(ctx)
	}
}

// lockPatience is how long an interrupted run waits for one and the same lock.
const lockPatience = 800 * time.Millisecond

// lockedOut returns the name of a lock file for which an interrupted run has waited so long.
func lockedOut() string {
	since, last := time.Now(), ""
	for {
		file := store.AwaitedLock()
		if file == "" || file != last {
			since, last = time.Now(), file
		} else if time.Since(since) > lockPatience {
			return file
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// build executes the program in a workshop that is opened when it first needs one, and cleans up.
func (j *job) build(ctx context.Context, program *script.Program, created *time.Time) (err error) {
	w := &workshop{} // nothing of it is opened for a script that builds nothing
	defer func() {
		if p := recover(); p != nil {
			err = failure.New("", "", "internal error: %v", p).WithHint("please report it, with the script.")
		}
		err = joined(err, w.close())
	}()
	if err := j.session.Start(func() (*engine.Builder, error) {
		opened, err := j.flags.openWorkshop(ctx, j.std, j.dir, j.singleID, created)
		if err != nil {
			return nil, err
		}
		w = opened
		j.opened.Store(opened)
		return w.engine, nil
	}); err != nil {
		return err
	}
	defer func() { err = joined(err, j.session.Close()) }()
	err = program.Run(ctx)
	if cause := context.Cause(ctx); cause != nil && (cause != j.tooLong || err == nil) {
		return cause // whatever the interruption made fail is its consequence
	}
	return err
}

// joined keeps the first error in front: it says why the run failed, what follows says what was left behind.
func joined(err, more error) error {
	if err == nil {
		return more
	} else if more == nil {
		return err
	}
	return errors.Join(err, more)
}

// catchSignals stops the run at the first INT, TERM, HUP or QUIT. Later ones change nothing: a terminal's Ctrl-C arrives twice
// anyway, and the cleaning must not be cut short, nor what is said at the end. SIGPIPE comes as an error of the write that
// caused it. The returned function ends the catching, if there was none.
func catchSignals(stop context.CancelCauseFunc) func() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGPIPE)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) { // as nohup and a shell's "&" leave them
			signal.Notify(signals, s)
		}
	}
	done := make(chan struct{})
	var caught atomic.Bool
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if number := s.(syscall.Signal); number != syscall.SIGPIPE {
					caught.Store(true)
					stop(&failure.Error{Err: fmt.Errorf("interrupted (%s)", s), Kind: failure.Interrupted, Signal: int(number)})
				}
			}
		}
	}()
	return func() {
		if !caught.Load() {
			signal.Stop(signals)
			close(done)
		}
	}
}

// sourceDateEpoch returns the time that SOURCE_DATE_EPOCH names, or nil.
func sourceDateEpoch() (*time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, failure.New("SOURCE_DATE_EPOCH", fmt.Sprintf("%q", text), "is no number of seconds").WithKind(failure.Usage)
	}
	t := time.Unix(seconds, 0).UTC()
	return &t, nil
}
