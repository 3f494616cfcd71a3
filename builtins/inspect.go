package builtins

import "go.starlark.net/starlark"

var inspectVerb = &verb{
	name:    "inspect",
	summary: "describes a container or an image",
	doc:     "The dict is what buildah inspect prints: OCIv1 and Docker hold the configuration in the two formats.",
	params:  []param{{name: "what", kind: inspected, required: true, doc: "what is described"}},
	gives:   "a dict",
	example: `config(ctr, label = {"version": "1"})
print(inspect(ctr)["OCIv1"]["config"]["Labels"])`,
	do: func(c *call) (starlark.Value, error) {
		var described map[string]any
		var err error
		if v, ok := c.values["what"].(*containerValue); ok {
			described, err = v.container.Inspect()
		} else {
			image, lookup := c.image(c.values["what"])
			if lookup != nil {
				return nil, lookup
			}
			described, err = c.session.engine.Inspect(c.ctx(), image)
		}
		if err != nil {
			return nil, err
		}
		return toStarlark(described), nil
	},
}
