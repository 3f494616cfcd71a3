package builtins

import (
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

const copyDoc = `The destination is a file's new name, or a directory when it ends in "/", is one already, or several things are
copied; missing directories are made. What a directory holds is copied, not the directory itself. A source below a mount
resolves inside that mount and keeps its owners; host files become root's unless chown says otherwise.

What is copied replaces what has its name, a whole directory too; only directories merge. A link that is named or matches
is followed, those inside a directory are copied as links. Permissions, times (to the second), hard links, holes and the
extended attributes user.* and security.capability come along; sockets in a directory don't, nor do devices, which only
root outside of user namespaces can make.`

var copyParams = []param{ctrParam,
	{name: "src", kind: paths, required: true, doc: "what is copied; strings may hold wildcards (* ? [])"},
	{name: "dest", kind: aPath, required: true,
		doc: "where to, in the container; relative to its working directory, or a path below its own mount"},
	{name: "chown", kind: aString, keyword: true, doc: `"user[:group]", names in the container or numbers`},
	{name: "chmod", kind: aString, keyword: true, doc: `permissions in octal, "0755", without setuid and its like; the source's own`},
	{name: "exclude", kind: strings_, keyword: true, doc: `patterns of what is left out, as in .containerignore, for names from the root of the host or the mount: "**/*.o"`},
}

var copyVerb = &verb{
	name:    "copy",
	summary: "copies files and directories into a container",
	doc:     copyDoc,
	params:  copyParams,
	example: `copy(ctr, "/etc/os-release", "/srv/", chmod = "0644")`,
	do:      func(c *call) (starlark.Value, error) { return nil, c.copy(false) },
}

var addVerb = &verb{
	name:    "add",
	summary: "copies as copy does, and unpacks tar archives on the way",
	doc:     copyDoc,
	params:  copyParams,
	example: `root = mount(ctr)
host(["tar", "-C", "/etc", "-cf", root / "tmp/etc.tar", "os-release"])
add(ctr, root / "tmp/etc.tar", "/srv/")`,
	do: func(c *call) (starlark.Value, error) { return nil, c.copy(true) },
}

func (c *call) copy(extract bool) error {
	container := c.container()
	sources := elements(c.values["src"])
	if isPath(c.values["src"]) {
		sources = []starlark.Value{c.values["src"]}
	}
	if len(sources) == 0 {
		return c.wrong("src", "is an empty list")
	}
	o := engine.CopyOptions{Dest: c.text("dest"), Chown: c.text("chown"), Chmod: c.text("chmod"),
		Exclude: c.stringList("exclude"), Extract: extract}
	if dest, ok := c.values["dest"].(*pathValue); ok {
		if dest.container != container {
			return c.wrong("dest", "%s lies in another tree than %s", dest, container.Name())
		}
		o.Dest = dest.name
	}
	for _, source := range sources {
		p := c.place(source)
		o.Sources = append(o.Sources, engine.Source{Root: p.root, Path: p.name + trailing(source)})
		if _, err := p.files(); err != nil {
			return err
		}
	}
	return container.Copy(c.ctx(), o)
}

// trailing returns the "/" or "/." at the end of a source given as a string, which a clean path has lost.
func trailing(source starlark.Value) string {
	text, _ := starlark.AsString(source)
	for _, end := range []string{"/.", "/"} {
		if strings.HasSuffix(text, end) {
			return end
		}
	}
	return ""
}
