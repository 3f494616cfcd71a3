package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"go.podman.io/buildah"
)

// runByLibrary runs a step the library's way: with an OCI runtime, or in a chroot.
func (c *Container) runByLibrary(ctx context.Context, way *stepWay, title string, argv []string, o RunOptions) (result *Result, err error) {
	mounts, err := c.libraryMounts(ctx, way.Isolation, o)
	if err != nil {
		return nil, explain("", title, err)
	}
	defer func() { err = mounts.ended(title, err) }()
	wrapped, err := mounts.wrap(argv)
	if err != nil {
		return nil, explain("", title, err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("opening the step's standard input: %w", err)
	}
	defer null.Close()
	options, err := way.libraryOptions()
	if err != nil {
		return nil, err
	}
	defer c.addHosts(o.AddHost)()
	streams, err := c.run.startStreams(title, true)
	if err != nil {
		return nil, err
	}
	before := descendants(os.Getpid())
	finished := killWhenCancelled(ctx, before)
	options.User, options.WorkingDir, options.Env = o.User, o.Workdir, slices.Concat(o.Env, mounts.env)
	options.Mounts = mounts.specs()
	options.Terminal = buildah.WithoutTerminal
	options.Stdin, options.Stdout, options.Stderr = null, streams.stdout, streams.stderr
	err = c.builder.Run(wrapped, options)
	finished()
	killSince(before) // what the step left behind would hold its pipes, and the mount, open
	if c.root != "" {
		c.builder.MountPoint = c.root // blanked by the library, though our own mount is still held
	}
	var end ending
	result, end = streams.finish(title, argv)
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

// libraryOptions say how the library executes the step.
func (w *stepWay) libraryOptions() (o buildah.RunOptions, err error) {
	run := w.container.run
	o = buildah.RunOptions{
		Logger: run.options.Logger, SystemContext: run.system,
		Isolation: w.kind, Runtime: w.Runtime, Args: slices.Clone(w.runtimeArgs), NoPivot: w.options.NoPivot,
		Hostname: w.options.Hostname, NoHostname: w.options.NoHostname, NoHosts: w.options.NoHosts,
		DeviceSpecs: w.options.Device, CDIConfigDir: w.asked.CDIConfigDir,
	}
	for _, flag := range w.options.RuntimeFlag {
		o.Args = append(o.Args, "--"+flag)
	}
	if o.AddCapabilities, o.DropCapabilities, err = w.capabilityChange(); err != nil {
		return o, err
	}
	o.NamespaceOptions, o.ConfigureNetwork, err = w.libraryNamespaces()
	return o, err
}

// addHosts adds to the container's /etc/hosts until the returned function is called: the library has no such option for a
// single step.
func (c *Container) addHosts(hosts []string) (restore func()) {
	before := c.builder.CommonBuildOpts
	if len(hosts) > 0 {
		more := *before
		more.AddHost = slices.Concat(before.AddHost, hosts)
		c.builder.CommonBuildOpts = &more
	}
	return func() { c.builder.CommonBuildOpts = before }
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
