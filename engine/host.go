package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// HostOptions say how a command runs on the host, inside the namespaces.
type HostOptions struct {
	Args  []string // argv; empty means Shell
	Shell string   // a line for /bin/sh
	Dir   string   // working directory; "" is the run's
	Env   []string // NAME=VALUE, on top of the environment rlbuild was started with
}

// stopGrace is how long an interrupted host command has to end by itself.
const stopGrace = 500 * time.Millisecond

// Host runs a command on the host, as root of the user namespace, and waits for it. As with Container.Run, a command
// that fails is a Result. What it leaves running in the background goes on until the run ends.
func (b *Builder) Host(ctx context.Context, o HostOptions) (*Result, error) {
	argv := o.Args
	title := "host " + CommandLine(argv)
	if len(argv) == 0 {
		argv, title = []string{"/bin/sh", "-c", o.Shell}, "host "+oneLine(o.Shell)
	}
	if err := b.tidy(); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if cmd.Dir = o.Dir; cmd.Dir == "" {
		cmd.Dir = b.options.Dir
	}
	cmd.Env = append(append([]string{}, b.options.Env...), o.Env...)
	// A group of its own, so that all of a pipeline can be ended; and nobody outlives rlbuild.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	streams, err := b.startStreams(title, false)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = streams.stdout, streams.stderr
	before := descendants(os.Getpid())
	err = cmd.Run()
	if ctx.Err() != nil {
		killSince(before)
	}
	result, _ := streams.finish(title, argv)
	if ctx.Err() != nil {
		return nil, interrupted(ctx, title)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		result.Code = exitCode(exit)
	default:
		return nil, notStarted(title, cmd, err)
	}
	return result, nil
}

// notStarted explains why a host command could not be started.
func notStarted(title string, cmd *exec.Cmd, err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return failure.New("", title, "no command %q in PATH", cmd.Args[0]).
			WithHint("install it on this machine, or give its path.")
	case errors.As(err, &path) && path.Op == "chdir":
		return failure.New("", title, "working directory %s: %w", cmd.Dir, path.Err)
	case errors.As(err, &path):
		return failure.New("", title, "%s: %w", path.Path, path.Err)
	}
	return failure.New("", title, "%w", fmt.Errorf("could not be started: %w", err))
}
