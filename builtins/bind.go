package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

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
