package builtins

import (
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
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
