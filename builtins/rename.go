package builtins

import "go.starlark.net/starlark"

var renameVerb = &verb{
	name:    "rename",
	summary: "gives a container another name",
	params:  []param{ctrParam, {name: "name", kind: aString, required: true, doc: "its new name, which no other container may have"}},
	gives:   "the container",
	example: `rename(ctr, "example-rename")
print(ctr.name)`,
	do: func(c *call) (starlark.Value, error) {
		return c.values["ctr"], c.container().Rename(c.text("name"))
	},
}
