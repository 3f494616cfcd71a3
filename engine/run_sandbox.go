package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"go.podman.io/buildah/define"
	"go.podman.io/buildah/util"
	"go.podman.io/common/pkg/config"
	"go.podman.io/common/pkg/subscriptions"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/failure"
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
	var inputErr error
	result, _, inputErr = streams.finish(title, argv)
	if ctx.Err() != nil {
		return nil, interrupted(ctx, title)
	}
	var failed *sandbox.Error
	switch {
	case late:
		result.ended(o.Process, late, 0)
	case inputErr != nil:
		return nil, explain("", title, inputErr)
	case err == nil:
		result.ended(o.Process, late, statusOf(state))
	case errors.As(err, &failed) && failed.Program:
		return notRun(result, err)
	default:
		return nil, explain("", title, err)
	}
	return result, nil
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
	userText := o.User
	if userText == "" {
		userText = c.builder.User()
	}
	user, err := sandbox.LookupUser(c.files, userText)
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", userText, err)
	}
	groups, keep, err := c.groups(c.files, o.GroupAdd)
	if err != nil {
		return nil, err
	}
	for _, id := range groups {
		if !slices.Contains(user.Groups, id) {
			user.Groups = append(user.Groups, id)
		}
	}
	user.KeepGroups = keep
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

// stepEnvironment is the library's (configureEnvironment), with the HOME that an OCI runtime adds.
func (c *Container) stepEnvironment(more []string, hostname, home string) []string {
	path := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	var env []string
	for _, variable := range util.MergeEnv(util.MergeEnv(append(c.proxies(), path...), c.builder.Env()), more) {
		if strings.Contains(variable, "=") {
			env = append(env, variable)
		}
	}
	if value(env, "HOSTNAME") == nil {
		env = append(env, "HOSTNAME="+hostname)
	}
	if at := value(env, "HOME"); at == nil {
		env = append(env, "HOME="+home)
	} else if *at == "HOME=" {
		*at += home
	}
	return env
}

// proxies are the variables that tell of proxies, of rlbuild's own environment.
func (c *Container) proxies() (env []string) {
	if !c.builder.CommonBuildOpts.HTTPProxy {
		return nil
	}
	for _, name := range config.ProxyEnv {
		if at := value(c.run.options.Env, name); at != nil {
			env = append(env, *at)
		}
	}
	return env
}

// value returns where a variable is set, or nil.
func value(env []string, name string) *string {
	for i := range env {
		if strings.HasPrefix(env[i], name+"=") {
			return &env[i]
		}
	}
	return nil
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

// lookPath finds a command that is given by its name alone in the container's PATH. It returns nil if there is none.
func lookPath(files *rootfs.FS, argv, env []string, dir string) []string {
	if strings.Contains(argv[0], "/") {
		return argv
	}
	list := ""
	if at := value(env, "PATH"); at != nil {
		list = strings.TrimPrefix(*at, "PATH=")
	}
	for _, entry := range filepath.SplitList(list) {
		if !path.IsAbs(entry) {
			entry = path.Join(dir, entry)
		}
		candidate := path.Join(entry, argv[0])
		info, err := files.Stat(candidate)
		if err == nil && info.Mode.Type() == 0 && info.Mode&0o111 != 0 {
			return append([]string{candidate}, argv[1:]...)
		}
	}
	return nil
}

// statusOf returns a command's exit status, 128+n when signal n ended it.
func statusOf(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// trySandbox finds out whether the executor works here, by a step that does everything but execute. The network is
// connected meanwhile: compiling the system call filter takes about as long.
func (b *Builder) trySandbox() (chosen *Isolation, err error) {
	conf, err := config.Default()
	if err != nil {
		return nil, fmt.Errorf("reading containers.conf: %w", err)
	}
	if err := beyondSandbox(conf); err != nil {
		return nil, err
	}
	capabilities, err := conf.Capabilities("", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the default capabilities: %w", err)
	}
	chosen = &Isolation{Kind: sandboxKind, Network: "host", stage: filepath.Join(b.options.TempDir, "stage")}
	if conf.NetNS() != "host" {
		var connecting sync.WaitGroup
		connecting.Go(func() {
			if _, err := b.connect(); err != nil {
				chosen.Shared = err.Error()
				return
			}
			chosen.Network = "private"
		})
		defer connecting.Wait()
	}
	profile := defaultSeccomp(conf)
	if profile == unconfined {
		profile = ""
	}
	filter, err := b.filterFor(profile, capabilities)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(b.options.TempDir, "probe-root")
	for _, dir := range []string{root, chosen.stage} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("making a directory to try it in: %w", err)
		}
	}
	return chosen, sandbox.Try(root, chosen.stage, sandbox.Step{
		Capabilities: capabilities, Filter: filter, Hostname: "probe", Network: sandbox.Namespace{Host: true},
		Masked: config.DefaultMaskedPaths(), ReadOnly: config.DefaultReadOnlyPaths,
	})
}

// sandboxRefused is the error of a user's wish for the sandbox where it can't be.
func sandboxRefused(err error) error {
	return failure.New("isolation", sandboxKind, "doesn't work here: %w", err).WithKind(failure.Machine).
		WithHint("leave the choice to rlbuild, or run steps with --isolation oci or chroot.")
}

// rootlessFlag is what the library writes into /run/.containerenv.
func rootlessFlag() int {
	if unshare.IsRootless() {
		return 1
	}
	return 0
}

// containerEnv is the content of /run/.containerenv, by which programs know where they run.
func (c *Container) containerEnv() string {
	return fmt.Sprintf("\nengine=\"buildah-%s\"\nname=%q\nid=%q\nimage=%q\nimageid=%q\nrootless=%d\n",
		define.Version, c.builder.Container, c.builder.ContainerID, c.builder.FromImage, c.builder.FromImageID, rootlessFlag())
}
