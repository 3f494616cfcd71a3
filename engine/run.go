package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/output"
)

// quotedLines is how many of the last lines of a failed command its error quotes.
const quotedLines = 10

// RunOptions say how a command runs in a container.
type RunOptions struct {
	Args    []string // argv; empty means Shell
	Shell   string   // a line for the image's shell
	User    string   // "user[:group]"; "" is the image's
	Workdir string   // "" is the image's
	Env     []string // NAME=VALUE, on top of the image's
}

// Result is what a command that ran to its end left.
type Result struct {
	Title  string   // the command, as messages show it
	Argv   []string // what was executed
	Code   int      // exit status; 128+n for a command that signal n ended
	Stdout *output.Capture
	Stderr *output.Capture

	why *failure.Error // of a command that could not be executed
}

// Err returns nil for a command that succeeded, else an error with its argv, its status and its last lines.
func (r *Result) Err() error {
	if r.Code == 0 {
		return nil
	}
	if r.why != nil {
		return r.why
	}
	e := failure.New("", r.Title, "exited with status %d", r.Code)
	if r.Code > 128 && r.Code <= 128+64 {
		e.Err = fmt.Errorf("exited with status %d (signal %d ended it)", r.Code, r.Code-128)
	}
	if e.Output = r.Stderr.Tail(quotedLines); len(e.Output) == 0 {
		e.Output = r.Stdout.Tail(quotedLines)
	}
	return e
}

// Run runs a command in the container and waits for it. A command that fails is a Result, not an error; an error means
// that it could not be run, or was interrupted.
func (c *Container) Run(ctx context.Context, o RunOptions) (*Result, error) {
	if err := c.alive("run"); err != nil {
		return nil, err
	}
	isolation, err := c.run.isolation()
	if err != nil {
		return nil, err
	}
	argv := o.Args
	title := "run " + CommandLine(argv)
	if len(argv) == 0 {
		shell := c.builder.Shell()
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		argv, title = append(slices.Clone(shell), o.Shell), "run "+oneLine(o.Shell)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("opening the step's standard input: %w", err)
	}
	defer null.Close()
	streams, err := c.run.startStreams(title)
	if err != nil {
		return nil, err
	}
	before := descendants(os.Getpid())
	finished := killWhenCancelled(ctx, before)
	err = c.builder.Run(argv, buildah.RunOptions{
		Logger:           c.run.options.Logger,
		Isolation:        isolation.kind,
		Runtime:          isolation.Runtime,
		Args:             isolation.runtimeArgs,
		NamespaceOptions: isolation.namespaces(),
		User:             o.User,
		WorkingDir:       o.Workdir,
		Env:              o.Env,
		Terminal:         buildah.WithoutTerminal,
		Stdin:            null,
		Stdout:           streams.stdout,
		Stderr:           streams.stderr,
		SystemContext:    c.run.system,
	})
	finished()
	killSince(before) // what the step left behind would hold its pipes, and the mount, open
	if c.root != "" {
		c.builder.MountPoint = c.root // blanked by the library, though our own mount is still held
	}
	result, end := streams.finish(title, argv)
	if ctx.Err() != nil {
		return nil, interrupted(ctx, title)
	}
	if end.reason != "" {
		return notRun(argv, result, errors.New(end.reason))
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		result.Code = exitCode(exit)
		if end.signal != 0 {
			result.Code = 128 + int(end.signal)
		}
	default:
		return notRun(argv, result, err)
	}
	return result, nil
}

// notRun explains why a command could not be run in a container. A command that isn't there is a result, as it is for a
// shell: 127 for one that isn't found, 126 for one that can't be executed.
func notRun(argv []string, result *Result, err error) (*Result, error) {
	text := err.Error()
	switch {
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "no such file or directory"):
		result.Code = 127
		result.why = failure.New("", result.Title, "the container has no command %q", argv[0]).
			WithHint("install it in the container, or give its path; an image without a shell can only run what it holds.")
		return result, nil
	case strings.Contains(text, "permission denied"):
		result.Code = 126
		result.why = failure.New("", result.Title, "%q is not executable in the container", argv[0]).
			WithHint("check its permissions: path.chmod(0o755)")
		return result, nil
	}
	e := explain("", result.Title, err)
	e.Output = result.Stderr.Tail(quotedLines)
	return nil, e
}

// namespaces are those that differ from the library's defaults.
func (i *Isolation) namespaces() define.NamespaceOptions {
	if i.Network != "host" {
		return nil
	}
	return define.NamespaceOptions{{Name: string(specs.NetworkNamespace), Host: true}}
}

func exitCode(exit *exec.ExitError) int {
	if code := exit.ExitCode(); code >= 0 {
		return code
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return 1
}

// interrupted is the error of a command that ended because the run was cancelled.
func interrupted(ctx context.Context, title string) error {
	return failure.New("", title, "stopped: %w", context.Cause(ctx))
}

// killWhenCancelled ends the processes that are started from now on when ctx is cancelled before the returned function
// is called. The library passes INT, TERM and HUP on to the step itself, so first it gets a moment to end by itself.
func killWhenCancelled(ctx context.Context, before []process) (finished func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		// Several rounds: what the library starts to clean up after the step must be given the time to do it.
		for _, pause := range []time.Duration{300 * time.Millisecond, 2 * time.Second, 5 * time.Second} {
			select {
			case <-done:
				return
			case <-time.After(pause):
				killSince(before)
			}
		}
	}()
	return sync.OnceFunc(func() { close(done) })
}

// streams carry a command's output to the display and to captures. The command gets pipes, not Go writers: waiting for
// a command would otherwise wait for whatever it left running with its output open.
type streams struct {
	run            *Builder
	step           *output.Step
	stdout, stderr *os.File // the command's ends
	captures       [2]*output.Capture
	readers        sync.WaitGroup
	readEnds       []*os.File
	epilogue       *epilogue // on standard error
}

func (b *Builder) startStreams(title string) (*streams, error) {
	s := &streams{run: b}
	var ends [2]*os.File
	for i := range ends {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("making a pipe for a step's output: %w", err)
		}
		s.readEnds = append(s.readEnds, r)
		ends[i] = w
	}
	s.stdout, s.stderr = ends[0], ends[1]
	s.step = b.options.Display.Step(title)
	for i, r := range s.readEnds {
		s.captures[i] = b.capture()
		var to io.Writer = tee{s.step.Stream(), s.captures[i]}
		if r == s.readEnds[1] {
			s.epilogue = &epilogue{next: to}
			to = s.epilogue
		}
		s.readers.Go(func() {
			_, _ = io.Copy(to, r) // ends with the pipe, or when finish says so
		})
	}
	return s, nil
}

// tee shows and keeps. A full disk must not stop a command from being read: what can't be kept is still shown, and
// Capture.Text says what happened when it is asked.
type tee struct{ shown, kept io.Writer }

func (t tee) Write(p []byte) (int, error) {
	_, _ = t.kept.Write(p)
	return t.shown.Write(p)
}

// finish waits until everything that was printed has been read.
func (s *streams) finish(title string, argv []string) (*Result, ending) {
	s.stdout.Close()
	s.stderr.Close()
	// A process that outlived the step, and may go on, can still hold the pipes: don't wait for its end.
	for _, r := range s.readEnds {
		_ = r.SetReadDeadline(time.Now().Add(time.Second))
	}
	s.readers.Wait()
	for _, r := range s.readEnds {
		r.Close()
	}
	end := s.epilogue.end()
	s.step.Close()
	return &Result{Title: title, Argv: argv, Stdout: s.captures[0], Stderr: s.captures[1]}, end
}

// CommandLine shows an argv as a shell would read it.
func CommandLine(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"\\$`|&;<>()*?[]#~{}!") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		quoted[i] = arg
	}
	return oneLine(strings.Join(quoted, " "))
}

// oneLine shortens a command for a title.
func oneLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	shown := strings.TrimSpace(lines[0])
	if len(lines) > 1 {
		shown += " …"
	}
	const most = 160
	if runes := []rune(shown); len(runes) > most {
		shown = string(runes[:most]) + "…"
	}
	return shown
}
