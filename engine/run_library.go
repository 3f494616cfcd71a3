package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
)

// runByLibrary runs a step the library's way: with an OCI runtime, or in a chroot.
func (c *Container) runByLibrary(ctx context.Context, isolation *Isolation, title string, argv []string, o RunOptions) (*Result, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("opening the step's standard input: %w", err)
	}
	defer null.Close()
	streams, err := c.run.startStreams(title, true)
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

// namespaces are those that differ from the library's defaults.
func (i *Isolation) namespaces() define.NamespaceOptions {
	if i.Network != "host" {
		return nil
	}
	return define.NamespaceOptions{{Name: string(specs.NetworkNamespace), Host: true}}
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
