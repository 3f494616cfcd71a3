package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"go.podman.io/buildah/copier"
	"go.podman.io/common/pkg/config"
	"go.podman.io/common/pkg/subscriptions"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// runSandboxed runs a step with rlbuild's own executor, set up as the library would set it up for an OCI runtime. The
// container stays mounted: mounting costs more than the step.
func (c *Container) runSandboxed(ctx context.Context, way *stepWay, title string, argv []string, o RunOptions) (result *Result, err error) {
	if _, err := c.Mount(); err != nil {
		return nil, err
	}
	step, err := c.step(way, o)
	if err != nil {
		return nil, explain("", title, err)
	}
	mounts, err := c.prepareMounts(ctx, way.Isolation, o, step.User, step.Dir)
	if err != nil {
		return nil, explain("", title, err)
	}
	defer func() { err = mounts.ended(title, err) }()
	mounts.addTo(step)
	if step.HostPID {
		defer killSince(descendants(os.Getpid())) // the kernel ends only what is in a pid namespace of the step's own
	}
	how := streamOptions{input: o.Stdin}
	if o.Terminal {
		how.terminal = ours
	}
	streams, err := c.run.startStreams(title, how)
	if err != nil {
		return nil, err
	}
	step.Stdin, step.Stdout, step.Stderr = streams.stdin, streams.stdout, streams.stderr
	if o.Terminal {
		step.Terminal = &sandbox.Terminal{Size: c.run.options.Terminal.size(), Opened: streams.attach}
	}
	var state *os.ProcessState
	clock := newDeadline(ctx, o.Timeout, inContainer)
	if step.Args = lookPath(c.files, argv, step.Env, step.Dir); step.Args == nil {
		err = &sandbox.Error{Doing: "looking for " + argv[0] + " in PATH", Program: true, Err: syscall.ENOENT}
	} else {
		state, err = c.execute(clock.ctx, step)
	}
	late := clock.stop()
	result, _, inputErr := streams.finish(title, argv)
	if cut, err := result.cutShort(ctx, o.Process, late, inputErr); err != nil {
		return nil, err
	} else if cut {
		return result, nil
	}
	var failed *sandbox.Error
	switch {
	case err == nil:
		return result.ended(o.Process, exitCode(state)), nil
	case errors.As(err, &failed) && failed.Program:
		return notRun(result, err)
	}
	return nil, explain("", title, err)
}

// execute runs a step with what its mounts need in the root.
func (c *Container) execute(ctx context.Context, step *sandbox.Step) (*os.ProcessState, error) {
	if needed := step.Targets(); !slices.Equal(needed, c.needed) {
		// A step that doesn't need what the last one did mustn't find it.
		if err := c.tidy(); err != nil {
			return nil, err
		}
		c.needed = needed
	}
	if c.targets == nil {
		c.targets = sandbox.NewTargets(c.files)
	}
	if err := c.targets.Make(step); err != nil {
		return nil, fmt.Errorf("making what is mounted in the container: %w", err)
	}
	if err := c.notePulledUp(c.targets.Parents); err != nil {
		return nil, err
	}
	return step.Run(ctx)
}

// tidy removes what steps' mounts needed in the root. It comes before everything but a step that reads or writes there.
func (c *Container) tidy() error {
	if c.targets == nil {
		return nil
	}
	targets := c.targets
	c.targets = nil
	if err := targets.Remove(); err != nil {
		return fmt.Errorf("removing what was mounted in the container: %w", err)
	}
	return nil
}

// tidy tidies all containers, for what may reach any of them.
func (b *Builder) tidy() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.containers {
		if err := c.tidy(); err != nil {
			return explain("", c.name, err)
		}
	}
	return nil
}

// step describes a step but for its command and streams, as the library's Run does (run_linux.go of buildah).
func (c *Container) step(way *stepWay, o RunOptions) (*sandbox.Step, error) {
	conf, err := config.Default()
	if err != nil {
		return nil, fmt.Errorf("reading containers.conf: %w", err)
	}
	user, err := c.stepUser(o)
	if err != nil {
		return nil, err
	}
	if err := c.checkMapped(user); err != nil {
		return nil, err
	}
	users, err := c.userNamespace()
	if err != nil {
		return nil, err
	}
	limits, err := parseLimits(c.builder.CommonBuildOpts.Ulimit)
	if err != nil {
		return nil, err
	}
	capabilities, err := way.capabilities()
	if err != nil {
		return nil, err
	}
	filter, err := way.filter()
	if err != nil {
		return nil, err
	}
	s := &sandbox.Step{
		Root: c.root, Stage: way.stage, User: user, Users: users, Limits: limits, Filter: filter,
		Capabilities: capabilities, NoNewPrivs: c.builder.CommonBuildOpts.NoNewPrivileges,
		Hostname: way.hostname(), ShmSize: c.builder.CommonBuildOpts.ShmSize,
		Masked: masked(config.DefaultMaskedPaths(), c.builder.CommonBuildOpts), ReadOnly: config.DefaultReadOnlyPaths,
		Dir: path.Join("/", firstOf(o.Workdir, c.builder.WorkDir(), "/")),
	}
	if err := way.enter(s); err != nil {
		return nil, err
	}
	s.Sysctls = sysctls(conf, s)
	s.Env = c.stepEnvironment(o.Env, s.Hostname, user.Home)
	for _, name := range c.builder.Volumes() {
		if err := sandbox.MakeDir(c.files, path.Join("/", name), mappedUser(users, sandbox.User{})); err != nil {
			return nil, fmt.Errorf("making the volume %s: %w", name, err)
		}
	}
	if err := sandbox.MakeDir(c.files, s.Dir, mappedUser(users, user)); err != nil {
		return nil, fmt.Errorf("making the working directory %s: %w", s.Dir, err)
	}
	if s.Binds, err = c.subscriptions(); err != nil {
		return nil, err
	}
	way.bindDevices(s)
	s.Files, err = c.stepFiles(conf, way)
	return s, err
}

// filterFor compiles the system call filter for steps with these capabilities, once: that of a file, or the default profile
// for "".
func (b *Builder) filterFor(file string, capabilities []string) (*sandbox.Filter, error) {
	key := file + "\x00" + strings.Join(capabilities, ",")
	if filter := b.filters[key]; filter != nil {
		return filter, nil
	}
	var profile []byte
	if file != "" {
		var err error
		if profile, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("reading the seccomp profile: %w", err)
		}
	}
	filter, err := sandbox.NewFilter(profile, capabilities, b.options.Store.RunRoot())
	if err != nil {
		return nil, err
	}
	b.filters[key] = filter
	return filter, nil
}

// subscriptions are what the distribution wants in every container (containers-mounts.conf(5)).
func (c *Container) subscriptions() (binds []sandbox.Bind, err error) {
	dir, err := c.run.options.Store.ContainerDirectory(c.id)
	if err != nil {
		return nil, err
	}
	for _, m := range subscriptions.MountsWithUIDGID(c.builder.MountLabel, dir, c.builder.DefaultMountsFilePath, c.root, 0, 0,
		unshare.IsRootless(), false) {
		binds = append(binds, sandbox.Bind{Source: m.Source, Target: m.Destination, ReadOnly: slices.Contains(m.Options, "ro")})
	}
	return binds, nil
}

// firstOf returns the first text that isn't empty, or "".
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// notePulledUp records directories for the commit, however it is made. The library compares them with the image's, so one
// that a step has really changed is committed.
func (c *Container) notePulledUp(parents map[string]rootfs.Info) error {
	grown := false
	for name, info := range parents {
		if slices.ContainsFunc(c.pulledUp, func(p copier.EnsureParentPath) bool { return p.Path == name }) {
			continue
		}
		modified := info.ModTime.UTC()
		c.pulledUp = append(c.pulledUp, copier.EnsureParentPath{
			Path: name, ModTime: &modified, Mode: &info.Mode, Owner: &idtools.IDPair{UID: info.UID, GID: info.GID},
		})
		grown = true
	}
	if !grown {
		return nil
	}
	dir, err := c.run.options.Store.ContainerDirectory(c.id)
	if err != nil {
		return err
	}
	text, err := json.Marshal(c.pulledUp)
	if err != nil {
		return fmt.Errorf("noting what a step's mounts copied up: %w", err)
	}
	file := filepath.Join(dir, pulledUpDir, "rlbuild")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, text, 0o600)); err != nil {
		return fmt.Errorf("noting what a step's mounts copied up: %w", err)
	}
	return nil
}
