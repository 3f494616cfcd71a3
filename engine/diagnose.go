package engine

import (
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/moby/sys/userns"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// cause is a known trouble with the facts of a case. What finds one looks at files and at the kernel's state; what a command
// printed only says where to look. Without facts there is no cause: a wrong guess is worse than none.
type cause struct {
	of    *trouble.Trouble
	facts trouble.Facts
}

// because adds the cause, if there is one, to what is known of a failure.
func (k *cause) because(e *failure.Error) *failure.Error {
	if k != nil {
		facts := k.shown()
		e.Err = fmt.Errorf("%w: %w", e.Err, k.of.Reason(nil, facts))
		e.Hint = k.of.Hint(facts)
	}
	return e
}

// shown returns the facts without what a terminal would obey: some are an image's words.
func (k *cause) shown() trouble.Facts {
	facts := trouble.Facts{}
	for name, text := range k.facts {
		facts[name] = output.Printable(text)
	}
	return facts
}

// explain returns the error of what can't be done for this cause.
func (k *cause) explain(op, subject string, err error) *failure.Error {
	return k.of.Explain(op, subject, err, k.shown())
}

// The places that commands run in, as messages name them.
const (
	inTheContainer = "the container"
	onThisMachine  = "this machine"
)

// scene is where a command failed, for who has to explain that. It is looked at only when the failure is shown.
type scene struct {
	place string
	files *rootfs.FS // the tree that the command ran in; what was mounted there for it alone is gone; nil if all is gone
	dir   string     // working directory in there
	env   []string
	shell bool     // the command is a line for the shell argv[0]
	words []string // of the command, for a first look only: no quotes are undone

	user         sandbox.User                    // whom it ran as, by the IDs it sees
	anybody      bool                            // whom it ran as isn't known: user is somebody who isn't root
	hostIDs      func(sandbox.User) sandbox.User // gives a user the IDs that files have for this process
	keepsGroups  bool
	capabilities []string // that it was given; of no use for another user than root
	network      string
	devices      []string     // it was shown
	mounts       []sceneMount // in the tree
	made         []madeMount  // for it alone
	uids, gids   []idRange    // that are mapped where it ran
	ownMap       bool         // by the container's own user namespace
	userNS       bool         // capabilities count inside of a user namespace only

	close func()
}

// sceneMount is something that a step was shown.
type sceneMount struct {
	source           string // of the host, absolute; "" for what isn't the host's
	target           string // absolute
	readOnly, noExec bool
	overlay          bool // of which the step may have changed what it saw
}

// hidden tells whether nobody can look at what the step saw: that is gone, or another container's.
func (m *sceneMount) hidden() bool { return m.source == "" || m.overlay }

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
	user, err := sandbox.LookupUser(c.files, firstOf(o.User, c.builder.User()))
	if err != nil {
		return nil, err
	}
	groups, keep, err := c.groups(c.files, o.GroupAdd)
	if err != nil {
		return nil, err
	}
	user.Groups = append(user.Groups, groups...)
	capabilities, err := way.capabilities()
	if err != nil {
		return nil, err
	}
	s = &scene{
		place: inTheContainer, files: c.files, dir: path.Join("/", firstOf(o.Workdir, c.builder.WorkDir(), "/")),
		env: c.stepEnvironment(o.Env, "", user.Home), shell: len(o.Args) == 0, words: wordsOf(o.Process),
		user: user, keepsGroups: keep, capabilities: capabilities, network: way.network(), devices: way.asked.Device,
		userNS: userns.RunningInUserNS(), close: leave,
	}
	s.hostIDs = c.ownerOutside
	if s.uids, s.gids, err = c.mappedIDs(); err != nil {
		return nil, err
	}
	s.ownMap = c.mapped()
	mounts, err := c.mountsOf(o, s.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"/proc", "/sys", "/dev"} {
		s.mounts = append(s.mounts, sceneMount{target: name})
	}
	for _, mount := range mounts {
		if mount.target() == "" {
			continue // a variable
		}
		s.mounts = append(s.mounts, describeMount(mount, s.dir))
		if m, ok := ownedMount(mount, s.dir); ok {
			s.made = append(s.made, m)
		}
	}
	return s, nil
}

// describeMount describes a mount for who looks for a file.
func describeMount(mount Mount, workDir string) sceneMount {
	shown := sceneMount{target: inStep(workDir, mount.target())}
	switch m := mount.(type) {
	case *BindMount:
		at := m.Source
		if at.Container == nil && at.Image == "" && firstOf(at.Root, "/") == "/" {
			shown.source = path.Join("/", at.Path)
		}
		shown.readOnly, shown.noExec = m.Flags.ReadOnly, m.Flags.NoExec != nil && *m.Flags.NoExec
	case *VolumeMount:
		shown.source, shown.overlay = m.Source, m.Overlay
		shown.readOnly, shown.noExec = m.Flags.ReadOnly, m.Flags.NoExec != nil && *m.Flags.NoExec
	}
	return shown
}

// madeMount is something that was made for a step, with an owner that its option names.
type madeMount struct {
	verb, what, target string
	owner              rootfs.Info
}

// ownedMount describes a cache, a secret or an agent's socket.
func ownedMount(mount Mount, workDir string) (m madeMount, ok bool) {
	mode, asked := uint32(0), (*uint32)(nil)
	switch from := mount.(type) {
	case *CacheMount:
		m = madeMount{"cache", "the cache", from.Target, rootfs.Info{UID: int(from.UID), GID: int(from.GID)}}
		mode, asked, ok = 0o755, from.Mode, from.From == nil
	case *SecretMount:
		m = madeMount{"secret", "the secret", from.target(), rootfs.Info{UID: int(from.UID), GID: int(from.GID)}}
		mode, asked, ok = from.mode(), nil, m.target != ""
	case *SSHMount:
		m = madeMount{"ssh", "the agent's socket", from.Target, rootfs.Info{UID: int(from.UID), GID: int(from.GID)}}
		mode, asked, ok = 0o600, from.Mode, from.Target != ""
	}
	if asked != nil {
		mode = *asked
	}
	m.owner.Mode, m.target = os.FileMode(mode), inStep(workDir, m.target)
	return m, ok
}

// hostScene looks at where a command of the host failed.
func (b *Builder) hostScene(o HostOptions) (*scene, error) {
	files, err := rootfs.Open("/")
	if err != nil {
		return nil, err
	}
	s := &scene{
		place: onThisMachine, files: files, dir: firstOf(o.Dir, b.options.Dir), env: slices.Concat(b.options.Env, o.Env),
		shell: len(o.Args) == 0, words: wordsOf(o.Process), keepsGroups: true, network: networkHost,
		userNS: userns.RunningInUserNS(), close: func() { files.Close() },
	}
	s.hostIDs = func(u sandbox.User) sandbox.User { return u }
	s.uids, s.gids, err = ownIDs()
	return s, err
}

// buildScene is where an instruction of build() failed: the container is gone, and whom the instruction ran as isn't known.
func buildScene(instruction string) (*scene, error) {
	s := &scene{
		place: inTheContainer, words: strings.Fields(instruction), user: sandbox.User{UID: 1}, anybody: true, userNS: userns.RunningInUserNS(),
		close: func() {},
	}
	var err error
	s.uids, s.gids, err = ownIDs()
	return s, err
}

// wordsOf returns the words of a command, for a look at what it was about.
func wordsOf(p Process) []string {
	if len(p.Args) > 0 {
		return p.Args
	}
	return strings.FieldsFunc(p.Shell, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()<>\"'`", r) })
}

// has tells whether the command could use a capability, as far as its user namespace goes. Host commands have all.
func (s *scene) has(capability string) bool {
	return s.user.UID == 0 && (s.place == onThisMachine || slices.Contains(s.capabilities, capability))
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
		if k := s.notRun(r.Argv, r.notRun); k != nil {
			found := k.explain("", r.Title, e.Err)
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

// printed says what the last lines of a command lead to, nil if that explains nothing.
func (s *scene) printed(code int, lines []string) *cause {
	if k := s.unmappedUser(); k != nil {
		return k
	}
	for _, line := range lines {
		for _, look := range []func(string) *cause{
			func(line string) *cause { return s.namesProgram(code, line) },
			func(line string) *cause { return s.refused(line, lines) },
			s.refusedID, s.refusedPath,
		} {
			if k := look(line); k != nil {
				return k
			}
		}
	}
	return nil
}

// unmappedUser says whether the command was to run as somebody whom nobody can be.
func (s *scene) unmappedUser() *cause {
	if s.anybody {
		return nil
	}
	return s.beyond(fmt.Sprint(s.user.UID), fmt.Sprint(s.user.GID))
}

// setting reads a setting of the kernel, "net/ipv4/ping_group_range", as its words.
func setting(name string) []string {
	text, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// notRunErrno is why a command could not be executed, by the error of whoever tried; 0 if it failed before it came to that.
func notRunErrno(err error) syscall.Errno {
	var failed *sandbox.Error
	if errors.As(err, &failed) {
		switch failed.Err {
		case syscall.ENOENT, syscall.ENOTDIR:
			return syscall.ENOENT
		case syscall.EACCES, syscall.ENOEXEC:
			return failed.Err
		}
		return 0
	}
	m := notExecuted().FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	switch strings.ToLower(firstOf(m[1], m[2], m[3])) {
	case "permission denied", "is a directory":
		return syscall.EACCES
	case "exec format error":
		return syscall.ENOEXEC
	}
	return syscall.ENOENT
}

// notExecuted matches what the library, runc and crun say of a command that they can't execute. What a runtime couldn't do
// before that ends in the same words, and so does what the library says of a runtime that it can't execute.
var notExecuted = sync.OnceValue(func() *regexp.Regexp {
	const why = "(not found in \\$PATH|no such file or directory|permission denied|is a directory|exec format error)"
	return regexp.MustCompile("(?i)(?:(?:^fork/|^|[^/\\w])exec:? (?:container process )?(?:\\([^)]*\\) )?[\"`]?[^\"`\\s]+[\"`]?:(?: executable file| stat [^ ]+:)? " + why +
		"|\\bexecutable file [\"`]?[^\"`]+[\"`]? (?:not found: )?" + why + "|\\bopen executable: " + why + ")")
})
