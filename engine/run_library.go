package engine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
)

// runByLibrary runs a step the library's way: with an OCI runtime, or in a chroot.
func (c *Container) runByLibrary(ctx context.Context, way *stepWay, title string, argv []string, o RunOptions) (result *Result, err error) {
	if err := c.run.options.Store.Refuse("", title, c.id); err != nil {
		return nil, err
	}
	mounts, err := c.libraryMounts(ctx, way.Isolation, o)
	if err != nil {
		return nil, explain("", title, err)
	}
	defer func() { err = mounts.ended(title, err) }()
	wrapped, err := mounts.wrap(argv)
	if err != nil {
		return nil, explain("", title, err)
	}
	how, terminal := streamOptions{input: o.Stdin, epilogue: true}, buildah.WithoutTerminal
	if o.Terminal {
		how.terminal, terminal = library, buildah.WithTerminal
	}
	options, err := way.libraryOptions()
	if err != nil {
		return nil, err
	}
	if o.Terminal && options.Isolation != define.IsolationChroot {
		if err := c.run.checkConsole(); err != nil {
			return nil, err
		}
	}
	defer c.addHosts(o.AddHost)()
	if err := c.run.letIn(&c.builder.IDMappingOptions); err != nil {
		return nil, err
	}
	restore, err := c.lendGroups(&options, o.GroupAdd)
	if err != nil {
		return nil, err
	}
	defer restore()
	streams, err := c.run.startStreams(title, how)
	if err != nil {
		return nil, err
	}
	endInput, err := c.run.setInput(&options, o, streams)
	if err != nil {
		_, _, _ = streams.finish(title, argv)
		return nil, err
	}
	size := c.run.options.Terminal.size()
	options.User, options.WorkingDir, options.Env = o.User, o.Workdir, slices.Concat(o.Env, mounts.env)
	options.Mounts = mounts.specs()
	options.Terminal, options.TerminalSize = terminal, &specs.Box{Height: uint(size.Row), Width: uint(size.Col)}
	options.Stdout, options.Stderr = streams.stdout, streams.stderr
	late, err := c.callLibrary(ctx, wrapped, options, o.Timeout)
	endInput()
	result, end, inputErr := streams.finish(title, argv)
	if cut, err := result.cutShort(ctx, o.Process, late, inputErr); err != nil {
		return nil, err
	} else if cut {
		return result, nil
	}
	var exit *exec.ExitError
	switch {
	case end.reason != "":
		return notRun(result, errors.New(end.reason))
	case err == nil:
		return result.ended(o.Process, 0), nil
	case !errors.As(err, &exit):
		return notRun(result.ended(o.Process, 0), err)
	case end.signal != 0:
		return result.ended(o.Process, 128+int(end.signal)), nil
	}
	return result.ended(o.Process, exitCode(exit)), nil
}

// callLibrary has the library run a command with these options, and ends what it left behind. It tells whether the command's
// time was up.
func (c *Container) callLibrary(ctx context.Context, argv []string, options buildah.RunOptions, timeout time.Duration) (late bool, err error) {
	before := descendants(os.Getpid())
	clock := newDeadline(ctx, timeout, inContainer)
	finished := killWhenCancelled(clock.ctx, before)
	err = c.builder.Run(argv, options)
	finished()
	late = clock.stop()
	killSince(before) // what the step left behind would hold its pipes, and the mount, open
	if c.root != "" {
		c.builder.MountPoint = c.root // blanked by the library, though our own mount is still held
	}
	return late, err
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
// is called; none any more when that has returned. The library passes INT, TERM and HUP on to the step itself, so first it gets a
// moment to end by itself.
func killWhenCancelled(ctx context.Context, before []process) (finished func()) {
	done := make(chan struct{})
	var killing sync.WaitGroup
	killing.Go(func() {
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
	})
	return sync.OnceFunc(func() {
		close(done)
		killing.Wait()
	})
}
