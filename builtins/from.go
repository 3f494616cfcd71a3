package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var fromVerb = &verb{
	name:    "from_",
	summary: "makes a working container from an image",
	doc: `The image is a name ("docker.io/library/debian:bookworm", "localhost/app"), a name at a transport ("oci-archive:app.tar"),
an image value, or "scratch" for nothing at all. The container is deleted when the script ends, however it ends.

from is a reserved word in Starlark, hence the underscore.`,
	params: slices.Concat([]param{
		{name: "image", kind: aBase, required: true, doc: "what it starts from"},
		{name: "name", kind: aString, keyword: true, doc: "the container's name; one is made up from the image's"},
		{name: "pull", kind: aString, keyword: true, fallback: `"missing"`,
			doc: `when the registry is asked: "missing" (not in the store), "always", "newer" or "never"`},
		{name: "platform", kind: aString, keyword: true, doc: `"os/arch[/variant]"; this machine's`},
		{name: "keep", kind: aBool, keyword: true, fallback: "False", doc: "leave the container for a look when the script has ended, and say its name"},
	}, stepDefaultParams, accessParams),
	gives: "a container: .id, .name, .image",
	example: `empty = from_("scratch", name = "nothing-yet")
print(empty.name)`,
	more: stepDefaultExamples,
	do: func(c *call) (starlark.Value, error) {
		access, err := c.access()
		if err != nil {
			return nil, err
		}
		steps, err := c.stepDefaults()
		if err != nil {
			return nil, err
		}
		o := engine.FromOptions{
			Image:    c.text("image"),
			Name:     c.text("name"),
			Pull:     c.text("pull"),
			Platform: c.text("platform"),
			Keep:     c.flag("keep", false),
			Access:   access,
			Steps:    steps,
		}
		if image, ok := c.values["image"].(*imageValue); ok {
			if !image.image.Stored {
				return nil, c.wrong("image", "%s was committed to a place outside the store", image).
					WithHint("name that place, or commit to a name in the store first.")
			}
			o.Image, o.Pull = image.image.ID, "never"
		}
		container, err := c.session.engine.From(c.ctx(), o)
		if err != nil {
			return nil, err
		}
		return &containerValue{container}, nil
	},
}

// container returns the argument "ctr".
func (c *call) container() *engine.Container { return c.values["ctr"].(*containerValue).container }

// ctrParam is the first parameter of the verbs that act on a container.
var ctrParam = param{name: "ctr", kind: aContainer, required: true, doc: "the container, from from_(…)"}
