package builtins

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
)

// mountValue is what a constructor of mounts made: something that a step is to find in its root. It says nothing about
// the machine until a step uses it.
type mountValue struct {
	text string // as a script would write it, secrets left out
	make func(c *call) (engine.Mount, error)
}

func (v *mountValue) String() string        { return v.text }
func (v *mountValue) Type() string          { return "mount" }
func (v *mountValue) Freeze()               {} // it never changes
func (v *mountValue) Truth() starlark.Bool  { return true }
func (v *mountValue) Hash() (uint32, error) { return hash(v.text), nil }

// The kinds of parameters of mounts.
var (
	aMount = kind{"a mount", either(isString, is[*mountValue])}
	mounts = kind{`a list of mounts: bind(…), cache(…), tmpfs(…), secret(…), ssh(…) or strings such as "type=tmpfs,target=/x"`, listOf(aMount.takes)}
	aRoot  = kind{"a container, an image, or the name of an image", either(isString, is[*containerValue], is[*imageValue])}
	aMode  = kind{`permissions: 0o644 or "0644"`, either(isString, is[starlark.Int])}
)

// mountParams are the options of run for what a step finds in its root.
var mountParams = []param{
	{name: "mount", kind: mounts, keyword: true,
		doc: `what the step finds in its root and the image doesn't get: values of bind, cache, tmpfs, secret and ssh, or strings as buildah's --mount takes them`},
	{name: "volume", kind: texts, keyword: true,
		doc: `host directories that the step can write to: "source:target[:options]", the options being ro, rw, U (give it to the step's user), O (keep what is written out of it), z and Z (SELinux), exec, noexec and their like, upperdir= and workdir= (with O), private and slave`},
	{name: "contextdir", kind: aPath, keyword: true, doc: "directory that the sources of bind mounts are looked up in, and don't lead out of"},
}

// mountExample shows these options.
const mountExample = `path("src").mkdir()
path("src/hello.c").write("int main() {}\n")
path("out").mkdir()
run(ctr, "cp hello.c /out/ && echo made > /out/made", user = "1000", workdir = "/src", contextdir = "src", mount = [
    bind("/", "/src"),
    "type=tmpfs,target=/tmp,tmpfs-size=64m",
], volume = ["out:/out:U"])
print(path("out/made").read())`

var targetParam = param{name: "target", kind: aString, required: true,
	doc: "where the step finds it; relative to its working directory"}

// flagParams are the options that mounts of files have in common, with what they are by default.
func flagParams(readOnly bool) []param {
	other := map[bool]string{true: "True", false: "False"}
	return []param{
		{name: "ro", kind: aBool, keyword: true, fallback: other[readOnly], doc: "the step can't write to it, nor to what is mounted below it"},
		{name: "rw", kind: aBool, keyword: true, fallback: other[!readOnly], doc: "the opposite of ro"},
		{name: "U", kind: aBool, keyword: true, fallback: "False", doc: "give all of it to the step's user"},
		{name: "z", kind: aBool, keyword: true, fallback: "False", doc: "label it for SELinux, to be shared by containers"},
		{name: "Z", kind: aBool, keyword: true, fallback: "False", doc: "label it for SELinux, for this container alone"},
		{name: "bind_propagation", kind: aString, keyword: true, fallback: `"private"`,
			doc: `"slave" shows what the host mounts below it meanwhile, in the sandbox; also "rprivate" and "rslave", and "shared", which no way of running steps can do`},
		{name: "nosuid", kind: aBool, keyword: true, doc: "setuid bits of programs in it count for nothing; as the host has it"},
		{name: "nodev", kind: aBool, keyword: true, doc: "device nodes in it are inert; as the host has it"},
		{name: "noexec", kind: aBool, keyword: true, doc: "programs in it can't be executed; as the host has it"},
	}
}

// ownerParams are the options of what is made for a step.
func ownerParams(mode string) []param {
	return []param{
		{name: "mode", kind: aMode, keyword: true, fallback: mode, doc: "its permissions"},
		{name: "uid", kind: anInt, keyword: true, fallback: "0", doc: "its owner, a number"},
		{name: "gid", kind: anInt, keyword: true, fallback: "0", doc: "its group, a number"},
	}
}

var bindVerb = &verb{
	name:    "bind",
	summary: "describes a file or directory that a step sees: of the host, of a container or of an image",
	doc: `It is for mount of run and build. A relative source starts at the script's directory. With from_, or contextdir of run, the
source is a name below that root, and no link leads out of it. A step that may write (rw) writes to a copy that is gone
with the step, as with buildah; volume = […] of run writes to the host.`,
	params: slices.Concat([]param{
		{name: "source", kind: aPath, required: true, doc: "what is shown"}, targetParam,
		{name: "from_", kind: aRoot, keyword: true, doc: "the root that the source is in: of a container of this script, or of an image in the store"},
		{name: "bind_nonrecursive", kind: aBool, keyword: true, fallback: "False", doc: "without what is mounted below the source"},
		{name: "relabel", kind: aString, keyword: true, doc: `"shared" is z, "private" is Z`},
	}, flagParams(true)),
	gives: "a mount",
	example: `path("notes.txt").write("hello\n")
run(ctr, "cat /mnt/notes.txt", mount = [bind("notes.txt", "/mnt/notes.txt")])`,
	more: []string{
		`other = from_("scratch")
copy(other, "/etc/os-release", "/lib/os-release")
run(ctr, "grep NAME /from/os-release", mount = [bind("/lib", "/from", from_ = other, ro = True, nosuid = True, nodev = True, noexec = True)])`,
		`path("work").mkdir()
run(ctr, "touch /share/gone", user = "1000", mount = [
    bind("work", "/share", rw = True, U = True, bind_propagation = "private"),
])
print(path("work").list())`,
		`path("labelled").mkdir()
run(ctr, "ls /a /b /c", mount = [
    bind("labelled", "/a", z = True),
    bind("labelled", "/b", Z = True),
    bind("labelled", "/c", relabel = "shared", bind_nonrecursive = False),
])`,
	},
	pure: true,
	do: func(c *call) (starlark.Value, error) {
		flags, err := c.mountFlags(true)
		if err != nil {
			return nil, err
		}
		flags.NonRecursive = c.flag("bind_nonrecursive", false)
		source, root, target := c.values["source"], c.values["from_"], c.text("target")
		return c.mount(func(run *call) (engine.Mount, error) {
			place, err := run.mountPlace(source, root)
			return &engine.BindMount{Source: place, Target: target, Flags: flags}, err
		})
	},
}

var cacheVerb = &verb{
	name:    "cache",
	summary: "describes a directory that steps share and that outlives the script",
	doc: `It is for mount of run and build. It lies in the directory for temporary files (TMPDIR, or /var/tmp), where buildah's builds of the
same user have the same caches. With sharing "locked" a step waits for the others that use the cache, with "private" it
gets one of its own while they do.`,
	params: slices.Concat([]param{targetParam,
		{name: "id", kind: aString, keyword: true, doc: "which cache it is; the target's name"},
		{name: "sharing", kind: aString, keyword: true, fallback: `"shared"`, doc: `"shared", "locked" or "private"`},
		{name: "from_", kind: aRoot, keyword: true, doc: "use this root, instead of a directory of the user's; what is written to an image is discarded"},
		{name: "source", kind: aString, keyword: true, doc: "a directory in the cache, instead of all of it"},
	}, ownerParams("0o755"), flagParams(false)),
	gives: "a mount",
	example: `pip = cache("/root/.cache/pip", id = "pip", sharing = "locked", mode = 0o700, uid = 0, gid = 0)
run(ctr, "date > /root/.cache/pip/last", mount = [pip])
run(ctr, "cat /root/.cache/pip/last", mount = [pip])`,
	more: []string{
		`run(ctr, "ls /seed", mount = [cache("/seed", from_ = ctr, source = "/bin", ro = True)])`,
		`run(ctr, "touch /c/x", user = "1000", mount = [
    cache("/c", id = "of-a-user", rw = True, U = True, nosuid = True, nodev = True, noexec = True, bind_propagation = "private"),
    cache("/d", id = "labelled", z = True, Z = False),
])`,
	},
	pure: true,
	do: func(c *call) (starlark.Value, error) {
		flags, err := c.mountFlags(false)
		if err != nil {
			return nil, err
		}
		k := engine.CacheMount{ID: c.text("id"), Target: c.text("target"), Source: c.text("source"),
			Sharing: c.text("sharing"), Flags: flags}
		if !slices.Contains([]string{"", "shared", "locked", "private"}, k.Sharing) {
			return nil, c.wrong("sharing", `got %q, want "shared", "locked" or "private"`, k.Sharing)
		}
		if k.Mode, k.UID, k.GID, err = c.mountOwner(); err != nil {
			return nil, err
		}
		root := c.values["from_"]
		return c.mount(func(run *call) (engine.Mount, error) {
			made := k
			if root != nil {
				place, err := run.mountPlace(starlark.String("/"), root)
				if err != nil {
					return nil, err
				}
				made.From = &place
			}
			return &made, nil
		})
	},
}

var tmpfsVerb = &verb{
	name:    "tmpfs",
	summary: "describes an empty directory in memory, gone with the step",
	doc:     "It is for mount of run and build.",
	params: []param{targetParam,
		{name: "size", kind: aSize, keyword: true, doc: `how much fits: bytes, or "64m", "50%"; half of the memory`},
		{name: "mode", kind: aMode, keyword: true, fallback: "0o1777", doc: "its permissions"},
		{name: "ro", kind: aBool, keyword: true, fallback: "False", doc: "the step can't write to it"},
		{name: "tmpcopyup", kind: aBool, keyword: true, fallback: "False", doc: "it begins with what the container has there"},
		{name: "nosuid", kind: aBool, keyword: true, fallback: "False", doc: "setuid bits count for nothing"},
		{name: "nodev", kind: aBool, keyword: true, fallback: "False", doc: "device nodes are inert"},
		{name: "noexec", kind: aBool, keyword: true, fallback: "False", doc: "programs can't be executed"},
	},
	gives:   "a mount",
	example: `run(ctr, "dd if=/dev/zero of=/scratch/x bs=1k count=64", mount = [tmpfs("/scratch", size = "1m", mode = 0o700)])`,
	more: []string{
		`run(ctr, "rm /etc/passwd; ls /etc /empty", mount = [
    tmpfs("/etc", tmpcopyup = True, nosuid = True, nodev = True, noexec = True),
    tmpfs("/empty", ro = True),
])`,
	},
	pure: true,
	do: func(c *call) (starlark.Value, error) {
		t := engine.TmpfsMount{Target: c.text("target"), CopyUp: c.flag("tmpcopyup", false)}
		t.Flags = c.mountRestrictions()
		t.Flags.ReadOnly = c.flag("ro", false)
		var err error
		if t.Size, err = c.tmpfsSize("size"); err != nil {
			return nil, err
		}
		if t.Mode, err = c.mountMode("mode"); err != nil {
			return nil, err
		}
		return c.mount(func(*call) (engine.Mount, error) { made := t; return &made, nil })
	},
}

var secretVerb = &verb{
	name:    "secret",
	summary: "describes a secret that a step can read and that nothing keeps",
	doc: `It is for mount of run and build, and for secret of build. The step finds it as a file in memory, or in its environment. rlbuild never shows it: not in
messages or logs, not in the history, not in a process list; and no layer has it unless the step itself writes it there.

The secret is what src, env or value say. With none of them it is, as with buildah, the environment variable called id, or
else the file of that name.`,
	params: slices.Concat([]param{
		{name: "id", kind: aString, required: true, doc: "its name"},
		{name: "target", kind: aString, keyword: true, fallback: `"/run/secrets/ID"`, doc: "where the step finds it; with as_env alone there is no file"},
		{name: "src", kind: aPath, keyword: true, doc: "the host's file that holds it"},
		{name: "env", kind: aString, keyword: true, doc: "the variable of rlbuild's environment that holds it"},
		{name: "value", kind: aString, keyword: true, doc: "the secret itself, from path(…).read() for example; what a host command prints is shown"},
		{name: "as_env", kind: aString, keyword: true, doc: "the variable of its environment that the step finds it in"},
		{name: "required", kind: aBool, keyword: true, fallback: "True", doc: "False runs the step without it when it isn't there"},
	}, ownerParams("0o400")),
	gives: "a mount",
	example: `path("token.txt").write("0f3a-77b1\n", mode = 0o600)
token = secret("token", value = path("token.txt").read().strip())
run(ctr, "test $(cat /run/secrets/token | wc -c) = 9", mount = [token])`,
	more: []string{
		`path("netrc").write("machine example.com password x\n", mode = 0o600)
run(ctr, "cat ~/.netrc > /dev/null", user = "1000", env = {"HOME": "/tmp"}, mount = [
    secret("netrc", src = "netrc", target = "/tmp/.netrc", mode = 0o600, uid = 1000, gid = 1000),
])`,
		`run(ctr, "echo ${KEY:-none}", mount = [secret("key", env = "SIGNING_KEY", as_env = "KEY", required = False)])`,
	},
	pure: true, quiet: true,
	do: func(c *call) (starlark.Value, error) {
		s := engine.SecretMount{ID: c.text("id"), Target: c.text("target"), Variable: c.text("as_env"), Optional: !c.flag("required", true)}
		if s.ID == "" {
			return nil, c.wrong("id", "is empty")
		}
		if strings.ContainsAny(s.ID, "/\x00") && s.Target == "" && s.Variable == "" {
			return nil, c.wrong("id", "%q can't be a file's name", s.ID).WithHint("say where the step finds it: target = …")
		}
		if s.Variable != "" && !shellName(s.Variable) {
			return nil, c.wrong("as_env", "%q can't be a variable's name", s.Variable)
		}
		from := 0
		for _, name := range []string{"src", "env", "value"} {
			if c.given(name) {
				from++
			}
		}
		if from > 1 {
			return nil, c.bad("takes one of src, env and value")
		}
		var err error
		if s.Mode, s.UID, s.GID, err = c.mountOwner(); err != nil {
			return nil, err
		}
		if err := c.secretSource(&s); err != nil {
			return nil, err
		}
		if name := c.text("env"); s.Value == nil && s.File == (engine.Source{}) && !s.Optional {
			return nil, c.wrong("env", "%s is not set in the environment", name).WithHint("set it, or allow it to be missing: required = False")
		}
		return c.mount(func(*call) (engine.Mount, error) { made := s; return &made, nil })
	},
}

// secretSource finds where the secret is.
func (c *call) secretSource(s *engine.SecretMount) (err error) {
	environment := c.session.options.Env
	variable, named := c.text("env"), c.given("env")
	switch {
	case c.given("value"):
		s.Value = []byte(c.text("value"))
		return nil
	case c.given("src"):
		s.File, err = c.sourceOf(c.values["src"])
		return err
	case !named:
		variable = s.ID
	}
	if text, set := environment[variable]; set {
		s.Value = []byte(text)
	} else if !named {
		s.File, err = c.sourceOf(starlark.String(s.ID))
	}
	return err
}

var sshVerb = &verb{
	name:    "ssh",
	summary: "describes an ssh agent that a step can have things signed by, without seeing the keys",
	doc: `It is for mount of run and build, and for ssh of build. SSH_AUTH_SOCK of the step names the first one. The keys are those of the agent that rlbuild's own
SSH_AUTH_SOCK names, of the agent whose socket src is, or of files.`,
	params: slices.Concat([]param{
		{name: "id", kind: aString, fallback: `"default"`, doc: "its name"},
		{name: "target", kind: aString, keyword: true, fallback: `"/run/buildkit/ssh_agent.0"`, doc: "where the step finds the socket"},
		{name: "src", kind: paths, keyword: true, doc: "an agent's socket, or files with private keys that have no passphrase; the agent of SSH_AUTH_SOCK"},
		{name: "required", kind: aBool, keyword: true, fallback: "True", doc: "False runs the step without it when there is no agent and no src"},
	}, ownerParams("0o600")),
	gives:   "a mount",
	example: `run(ctr, "echo ${SSH_AUTH_SOCK:-no agent}", mount = [ssh(required = False)])`,
	more: []string{
		`host(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path("deploy-key")])
run(ctr, "test -S /run/agent", user = "1000", mount = [
    ssh("deploy", src = ["deploy-key"], target = "/run/agent", mode = 0o600, uid = 1000, gid = 1000),
])`,
	},
	pure: true,
	do: func(c *call) (starlark.Value, error) {
		s := engine.SSHMount{ID: c.text("id"), Target: c.text("target")}
		if !c.given("id") {
			s.ID = "default"
		}
		var err error
		if s.Mode, s.UID, s.GID, err = c.mountOwner(); err != nil {
			return nil, err
		}
		for _, v := range oneOrMore(c.values["src"]) {
			source, err := c.sourceOf(v)
			if err != nil {
				return nil, err
			}
			s.Sources = append(s.Sources, source)
		}
		if !c.given("src") {
			if socket := c.session.options.Env["SSH_AUTH_SOCK"]; socket != "" {
				s.Sources = []engine.Source{{Root: "/", Path: socket}}
			} else if c.flag("required", true) {
				return nil, c.bad("there is no agent: SSH_AUTH_SOCK is not set").
					WithHint("start one (eval $(ssh-agent); ssh-add), name key files with src, or allow it to be missing: required = False")
			}
		}
		return c.mount(func(*call) (engine.Mount, error) { made := s; return &made, nil })
	},
}

// mount returns the value of a constructor's call; make makes the engine's mount of it when run is called.
func (c *call) mount(make func(run *call) (engine.Mount, error)) (starlark.Value, error) {
	if c.given("target") && c.text("target") == "" {
		return nil, c.wrong("target", "is empty")
	}
	var args []string
	for _, p := range c.verb.params {
		value, given := c.values[p.name]
		switch {
		case !given:
		case p.name == "value": // of a secret
			args = append(args, "value = …")
		case p.keyword:
			args = append(args, p.name+" = "+value.String())
		default:
			args = append(args, value.String())
		}
	}
	return &mountValue{text: c.verb.name + "(" + strings.Join(args, ", ") + ")", make: make}, nil
}

// mountPlace returns where the source of a mount is, for the call of run that mounts it.
func (c *call) mountPlace(source, root starlark.Value) (engine.Place, error) {
	name, plain := starlark.AsString(source)
	place := engine.Place{Path: path.Join("/", name)}
	switch root := root.(type) {
	case *containerValue:
		place.Container = root.container
	case *imageValue:
		var err error
		if place.Image, err = c.storedID("from_", root); err != nil {
			return place, err
		}
	case starlark.String:
		place.Image = string(root)
	default:
		if c.given("contextdir") {
			var err error
			if place.Root, err = c.placeOf("contextdir"); err != nil {
				return place, err
			}
			break
		}
		at := c.place(source)
		return engine.Place{Container: at.container, Root: at.root, Path: at.name}, nil
	}
	if !plain {
		return place, c.bad("the source %s is a path of its own", source).
			WithHint("below from_ or contextdir, the source is a string: the name there.")
	}
	return place, nil
}

// mountFlags returns the options that mounts of files have in common.
func (c *call) mountFlags(readOnly bool) (f engine.MountFlags, err error) {
	f = c.mountRestrictions()
	f.ReadOnly, f.Chown = readOnly, c.flag("U", false)
	if c.given("ro") && c.given("rw") && c.flag("ro", false) == c.flag("rw", false) {
		return f, c.bad("ro and rw contradict each other")
	}
	if c.given("ro") {
		f.ReadOnly = c.flag("ro", false)
	} else if c.given("rw") {
		f.ReadOnly = !c.flag("rw", false)
	}
	labels := c.text("relabel")
	if c.given("relabel") && labels != "shared" && labels != "private" {
		return f, c.wrong("relabel", `got %q, want "shared" or "private"`, labels)
	}
	for name, label := range map[string]string{"z": "shared", "Z": "private"} {
		if c.flag(name, false) {
			if labels != "" && labels != label {
				return f, c.bad("z, Z and relabel contradict each other")
			}
			labels = label
		}
	}
	f.Relabel, f.Propagation = labels, c.text("bind_propagation")
	ways := []string{"", "private", "rprivate", "slave", "rslave", "shared", "rshared"}
	if !slices.Contains(ways, f.Propagation) {
		return f, c.wrong("bind_propagation", "got %q, want one of %s", f.Propagation, strings.Join(ways[1:], ", "))
	}
	return f, nil
}

// mountRestrictions returns what a mount is to forbid.
func (c *call) mountRestrictions() (f engine.MountFlags) {
	for name, to := range map[string]**bool{"nosuid": &f.NoSuid, "nodev": &f.NoDev, "noexec": &f.NoExec} {
		if c.given(name) {
			*to = new(c.flag(name, false))
		}
	}
	return f
}

// mountOwner returns the options of ownerParams.
func (c *call) mountOwner() (mode *uint32, uid, gid uint32, err error) {
	if mode, err = c.mountMode("mode"); err != nil {
		return
	}
	for name, to := range map[string]*uint32{"uid": &uid, "gid": &gid} {
		if !c.given(name) {
			continue
		}
		id, ok := c.values[name].(starlark.Int).Uint64()
		if !ok || id >= 1<<32-1 {
			return nil, 0, 0, c.wrong(name, "got %s, which is no ID", c.values[name])
		}
		*to = uint32(id)
	}
	return
}

// mountMode returns an argument that is permissions, nil if it wasn't given.
func (c *call) mountMode(name string) (*uint32, error) {
	var bits uint64
	var err error
	switch v := c.values[name].(type) {
	case nil:
		return nil, nil
	case starlark.Int:
		n, ok := v.Uint64()
		if bits = n; !ok {
			err = os.ErrInvalid
		}
	default:
		bits, err = strconv.ParseUint(c.text(name), 8, 32)
	}
	if err != nil || bits > 0o7777 {
		return nil, c.wrong(name, `got %s, want permissions: 0o644 or "0644"`, c.values[name])
	}
	return new(uint32(bits)), nil
}

// tmpfsSize returns an argument that is an amount of memory as the kernel's tmpfs takes it.
func (c *call) tmpfsSize(name string) (string, error) {
	text := strings.TrimSpace(c.size(name))
	if !c.given(name) {
		return "", nil
	}
	digits := strings.TrimRight(text, "kKmMgG%")
	if n, err := strconv.ParseUint(digits, 10, 63); err != nil || n == 0 || len(text) > len(digits)+1 {
		return "", c.wrong(name, `got %s, want bytes or a string such as "64m"`, c.values[name])
	}
	return text, nil
}

// shellName tells whether a variable can be set by a shell.
func shellName(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// stepMounts returns what the options mount and volume say.
func (c *call) stepMounts() (all []engine.Mount, err error) {
	for _, value := range elements(c.values["mount"]) {
		if text, ok := starlark.AsString(value); ok {
			if value, err = c.parseMount(text); err != nil {
				return nil, err
			}
		}
		mount, err := value.(*mountValue).make(c)
		if err != nil {
			return nil, err
		}
		all = append(all, mount)
	}
	for _, text := range c.texts("volume") {
		volume, err := engine.ParseVolume(text, c.session.options.Dir)
		if err != nil {
			return nil, err
		}
		all = append(all, volume)
	}
	return all, nil
}

// mountVerbs make mounts, by the type that strings of buildah's have for them.
func mountVerbs() map[string]*verb {
	return map[string]*verb{"bind": bindVerb, "cache": cacheVerb, "tmpfs": tmpfsVerb, "secret": secretVerb, "ssh": sshVerb}
}

// mountKeys are the keys of such strings that are spelled in another way here. Of a secret's, env is the step's variable, as in
// a Containerfile.
var mountKeys = map[string]string{
	"src": "source", "dst": "target", "destination": "target", "readonly": "ro", "readwrite": "rw", "from": "from_",
	"bind-propagation": "bind_propagation", "bind-nonrecursive": "bind_nonrecursive", "tmpfs-size": "size", "tmpfs-mode": "mode",
	"secret env": "as_env", "secret src": "src", "ssh src": "src",
}

// parseMount makes the value of a string as buildah's --mount takes it, by calling its constructor.
func (c *call) parseMount(text string) (starlark.Value, error) {
	kind, fields := "bind", strings.Split(text, ",")
	for _, field := range fields {
		if name, ok := strings.CutPrefix(field, "type="); ok {
			kind = name
		}
	}
	v := mountVerbs()[kind]
	if v == nil {
		return nil, c.wrong("mount", "%q: there is no type %q", text, kind).WithHint("types are bind, cache, tmpfs, secret and ssh.")
	}
	made := &call{verb: v, session: c.session, thread: c.thread}
	var kwargs []starlark.Tuple
	for _, field := range fields {
		key, value, valued := strings.Cut(field, "=")
		switch key {
		case "type", "consistency", "cached", "delegated": // the last three are of another system, and buildah skips them
			continue
		case "shared", "rshared", "private", "rprivate", "slave", "rslave":
			key, value, valued = "bind_propagation", key, true
		}
		name := key
		for _, alias := range []string{key, kind + " " + key} {
			if spelled, ok := mountKeys[alias]; ok {
				name = spelled
			}
		}
		p := made.param(name)
		if p == nil || name == "value" {
			return nil, c.wrong("mount", "%q: %s has no option %q", text, kind, key)
		}
		argument, err := c.mountArgument(p, value, valued)
		if err != nil {
			return nil, c.wrong("mount", "%q: option %q %w", text, key, err)
		}
		kwargs = append(kwargs, starlark.Tuple{starlark.String(name), argument})
	}
	has := func(name string) bool {
		return slices.ContainsFunc(kwargs, func(kv starlark.Tuple) bool { return kv[0] == starlark.String(name) })
	}
	// What buildah takes for granted: all of a root, and that a step can do without what nobody provides.
	if kind == "bind" && !has("source") && (has("from_") || c.given("contextdir")) {
		kwargs = append(kwargs, starlark.Tuple{starlark.String("source"), starlark.String("/")})
	} else if (kind == "secret" || kind == "ssh") && !has("src") && !has("required") {
		kwargs = append(kwargs, starlark.Tuple{starlark.String("required"), starlark.Bool(false)})
	}
	if err := made.bind(nil, kwargs); err != nil {
		return nil, failure.New("run: mount:", fmt.Sprintf("%q", text), "%w", err)
	}
	return v.do(made)
}

// mountArgument converts the value of a key.
func (c *call) mountArgument(p *param, text string, given bool) (starlark.Value, error) {
	switch {
	case p.kind.takes(starlark.Bool(true)):
		if !given {
			return starlark.Bool(true), nil
		}
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("is true or false, not %q", text)
		}
		return starlark.Bool(b), nil
	case text == "":
		return nil, fmt.Errorf("needs a value")
	case p.kind.takes(starlark.String("")):
		return starlark.String(text), nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("is a number, not %q", text)
	}
	return starlark.MakeUint64(n), nil
}
