package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/userns"
	"go.podman.io/buildah/util"

	"github.com/rlbuild/rlbuild/engine/diagnose"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// cause is why something failed, for who says so.
type cause diagnose.Cause

// because adds the cause, if there is one, to what is known of a failure.
func (k *cause) because(e *failure.Error) *failure.Error {
	if k != nil {
		facts := k.shown()
		e.Err = fmt.Errorf("%w: %w", e.Err, k.Of.Reason(nil, facts))
		e.Hint = k.Of.Hint(facts)
	}
	return e
}

// shown returns the facts without what a terminal would obey: some are an image's words.
func (k *cause) shown() trouble.Facts {
	facts := trouble.Facts{}
	for name, text := range k.Facts {
		facts[name] = output.Printable(text)
	}
	return facts
}

// explain returns the error of what can't be done for this cause.
func (k *cause) explain(op, subject string, err error) *failure.Error {
	return k.Of.Explain(op, subject, err, k.shown())
}

// scene is where a command failed, held open for who has to explain that. It is looked at only when the failure is shown.
type scene struct {
	diagnose.Scene
	close func()
}

// printed says what the last lines of a command lead to, nil if that explains nothing.
func (s *scene) printed(code int, lines []string) *cause { return (*cause)(s.Printed(code, lines)) }

// stepScene looks at where a step failed.
func (c *Container) stepScene(way *stepWay, o RunOptions) (s *scene, err error) {
	leave := func() {}
	if c.root == "" {
		leave = func() { _ = c.release() } // what is mounted for a look; else the run's end does it
	}
	defer func() {
		if err != nil {
			leave()
		}
	}()
	if _, err := c.Mount(); err != nil {
		return nil, err
	}
	user, err := c.stepUser(o)
	if err != nil {
		return nil, err
	}
	capabilities, err := way.capabilities()
	if err != nil {
		return nil, err
	}
	ids, err := c.mappedIDs()
	if err != nil {
		return nil, err
	}
	dir := path.Join("/", firstOf(o.Workdir, c.builder.WorkDir(), "/"))
	s = &scene{diagnose.Scene{
		Place: diagnose.Container, Files: c.files, Devices: way.asked.Device, HostNetwork: way.network() == networkHost,
		UserNS: userns.RunningInUserNS(), IDs: ids, OwnIDs: c.mapped(),
		Command: diagnose.Command{Words: wordsOf(o.Process), Shell: len(o.Args) == 0, Dir: dir, Env: c.stepEnvironment(o.Env, "", user.Home)},
		User:    diagnose.User{Inside: user, Outside: c.ownerOutside(user), Capabilities: capabilities},
	}, leave}
	s.Mounts, s.Made, err = c.shownMounts(o, dir)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// shownMounts describes what a step was shown: what every step is, its mounts, and which of those were made for it.
func (c *Container) shownMounts(o RunOptions, workDir string) (shown []diagnose.Mount, made []diagnose.Made, err error) {
	mounts, err := c.mountsOf(o, workDir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{"/proc", "/sys", "/dev"} {
		shown = append(shown, diagnose.Mount{Target: name})
	}
	for _, mount := range mounts {
		if mount.target() == "" {
			continue // a variable
		}
		shown = append(shown, describeMount(mount, workDir))
		if m, ok := ownedMount(mount, workDir); ok {
			made = append(made, m)
		}
	}
	return shown, made, nil
}

// describeMount describes a mount for who looks for a file.
func describeMount(mount Mount, workDir string) diagnose.Mount {
	shown := diagnose.Mount{Target: inStep(workDir, mount.target())}
	switch m := mount.(type) {
	case *BindMount:
		at := m.Source
		if at.Container == nil && at.Image == "" && firstOf(at.Root, "/") == "/" {
			shown.Source = path.Join("/", at.Path)
		}
		shown.ReadOnly, shown.NoExec = m.Flags.ReadOnly, m.Flags.NoExec != nil && *m.Flags.NoExec
	case *VolumeMount:
		shown.Source, shown.Overlay = m.Source, m.Overlay
		shown.ReadOnly, shown.NoExec = m.Flags.ReadOnly, m.Flags.NoExec != nil && *m.Flags.NoExec
	}
	return shown
}

// ownedMount describes a cache, a secret or an agent's socket.
func ownedMount(mount Mount, workDir string) (m diagnose.Made, ok bool) {
	mode, asked := uint32(0), (*uint32)(nil)
	switch from := mount.(type) {
	case *CacheMount:
		m = diagnose.Made{Verb: "cache", What: "the cache", Target: from.Target, Owner: rootfs.Info{UID: int(from.UID), GID: int(from.GID)}}
		mode, asked, ok = 0o755, from.Mode, from.From == nil
	case *SecretMount:
		m = diagnose.Made{Verb: "secret", What: "the secret", Target: from.target(), Owner: rootfs.Info{UID: int(from.UID), GID: int(from.GID)}}
		mode, asked, ok = from.mode(), nil, m.Target != ""
	case *SSHMount:
		m = diagnose.Made{Verb: "ssh", What: "the agent's socket", Target: from.Target, Owner: rootfs.Info{UID: int(from.UID), GID: int(from.GID)}}
		mode, asked, ok = 0o600, from.Mode, from.Target != ""
	}
	if asked != nil {
		mode = *asked
	}
	m.Owner.Mode, m.Target = os.FileMode(mode), inStep(workDir, m.Target)
	return m, ok
}

// hostScene looks at where a command of the host failed.
func (b *Builder) hostScene(o HostOptions) (*scene, error) {
	files, err := rootfs.Open("/")
	if err != nil {
		return nil, err
	}
	s := &scene{diagnose.Scene{
		Place: diagnose.Machine, Files: files, HostNetwork: true, UserNS: userns.RunningInUserNS(),
		Command: diagnose.Command{
			Words: wordsOf(o.Process), Shell: len(o.Args) == 0, Dir: firstOf(o.Dir, b.options.Dir), Env: slices.Concat(b.options.Env, o.Env)},
		User: diagnose.User{Inside: sandbox.User{KeepGroups: true}, Outside: sandbox.User{KeepGroups: true}},
	}, func() { files.Close() }}
	s.IDs, err = diagnose.OwnIDs()
	return s, err
}

// buildScene is where an instruction of build() failed: the container is gone, and whom the instruction ran as isn't known.
func buildScene(instruction string) (*scene, error) {
	ids, err := diagnose.OwnIDs()
	somebody := sandbox.User{UID: 1}
	return &scene{diagnose.Scene{
		Place: diagnose.Container, UserNS: userns.RunningInUserNS(), IDs: ids,
		Command: diagnose.Command{Words: strings.Fields(instruction)},
		User:    diagnose.User{Inside: somebody, Outside: somebody, Unknown: true},
	}, func() {}}, err
}

// wordsOf returns the words of a command, for a look at what it was about.
func wordsOf(p Process) []string {
	if len(p.Args) > 0 {
		return p.Args
	}
	return strings.FieldsFunc(p.Shell, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()<>\"'`", r) })
}

// explain adds to the error of a failed command why it failed, if that is known.
func (r *Result) explain(e *failure.Error) *failure.Error {
	if r.look == nil {
		return e
	}
	s, err := r.look()
	if err != nil {
		return e
	}
	defer s.close()
	if r.notRun != 0 {
		if k := s.NotRun(r.Argv, r.notRun); k != nil {
			found := (*cause)(k).explain("", r.Title, e.Err)
			found.Output = e.Output
			return found
		}
		return e
	}
	return s.printed(r.Code, r.lastLines()).because(e)
}

// The most that is looked at of what a command printed.
const (
	lookedLines = 8
	lookedBytes = 500 // of a line
)

// lastLines returns the last lines of both streams, the very last first, and standard error's before the other's.
func (r *Result) lastLines() []string {
	var lines []string
	for _, stream := range [][]string{r.Stderr.Tail(lookedLines), r.Stdout.Tail(lookedLines)} {
		for _, line := range slices.Backward(stream) {
			lines = append(lines, line[:min(len(line), lookedBytes)])
		}
	}
	return lines
}

// pathCause says which component of a path of the host refuses this process, for an operation that failed with err; nil if
// that says no more than err.
func pathCause(name string, want uint32, err error) *cause {
	return (*cause)(diagnose.Path(name, want, err))
}

// ExplainPath returns the error of an operation on a path of the host, or of a container if onHost is false.
func ExplainPath(op, name string, onHost bool, err error) *failure.Error {
	if onHost {
		if k := pathCause(name, reach.Read, err); k != nil {
			return k.explain(op, name, err)
		}
	}
	if k := (*cause)(diagnose.UnmappedID(err.Error())); k != nil {
		return k.explain(op, name, err)
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return failure.New(op, name, "%w", err)
}

// mappedIDs are the IDs that there are for the container's steps.
func (c *Container) mappedIDs() (diagnose.IDs, error) {
	ids := c.builder.IDMappingOptions
	if len(ids.UIDMap) == 0 {
		return diagnose.OwnIDs()
	}
	return diagnose.Mapped(ids.UIDMap, ids.GIDMap), nil
}

// ownerOutside returns a step's user with the IDs that its files have for this process.
func (c *Container) ownerOutside(user sandbox.User) sandbox.User {
	ids := c.builder.IDMappingOptions
	if len(ids.UIDMap) == 0 {
		return user
	}
	user.Groups = slices.Clone(user.Groups)
	for i, group := range user.Groups {
		if _, gid, err := util.GetHostIDs(ids.UIDMap, ids.GIDMap, 0, group); err == nil {
			user.Groups[i] = gid
		}
	}
	if uid, gid, err := util.GetHostIDs(ids.UIDMap, ids.GIDMap, user.UID, user.GID); err == nil {
		user.UID, user.GID = uid, gid
	}
	return user
}
