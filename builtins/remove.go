package builtins

import "go.starlark.net/starlark"

var removeVerb = &verb{
	name:    "remove",
	summary: "deletes a container or an image before the script ends",
	doc: `A string is looked for among the containers, then among the images. An image goes with all its names. Containers of
podman are left alone.`,
	params:  []param{{name: "what", kind: removed, required: true, doc: "what is deleted"}},
	example: `remove(ctr)`,
	do: func(c *call) (starlark.Value, error) {
		if v, ok := c.values["what"].(*containerValue); ok {
			return nil, v.container.Remove()
		}
		run := c.session.engine
		if name, ok := starlark.AsString(c.values["what"]); ok {
			if found, err := run.RemoveContainer(name); found || err != nil {
				return nil, err
			}
		}
		image, err := c.image(c.values["what"])
		if err != nil {
			return nil, err
		}
		return nil, run.RemoveImage(image)
	},
}
