package builtins

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var globVerb = &verb{
	name:    "glob",
	summary: "finds files of the host",
	doc: `A relative pattern starts at the entry script's directory (the current directory for "-" and "-c"). To look into a
container: mount(ctr).glob(pattern).`,
	params: []param{
		{name: "pattern", kind: aString, required: true, doc: "* ? [] {a,b}, and ** for any depth"},
	},
	gives:   "a list of paths, sorted",
	example: `print([p.name for p in glob("/etc/os-rel*")])`,
	do: func(c *call) (starlark.Value, error) {
		pattern := c.text("pattern")
		if !filepath.IsAbs(pattern) {
			pattern = path.Join(escapeGlob(c.session.options.Dir), pattern)
		}
		names, err := c.session.host.Until(c.ctx()).Glob(pattern)
		if err != nil {
			var at *fs.PathError
			if errors.As(err, &at) {
				if e := engine.ExplainPath("glob", at.Path, true, err); e.Hint != "" {
					return nil, e
				}
			}
			return nil, c.wrong("pattern", "%w", err)
		}
		root := &pathValue{c.session, nil, "/", "/"}
		return root.below(names), nil
	},
}
