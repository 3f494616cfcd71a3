package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var pullVerb = &verb{
	name:    "pull",
	summary: "fetches an image into the store",
	params: slices.Concat([]param{
		{name: "image", kind: aString, required: true, doc: "its name, or its name at a transport"},
		{name: "policy", kind: aString, keyword: true, fallback: `"always"`,
			doc: `"always", "missing" (only if it isn't in the store), "newer" or "never"`},
		{name: "platform", kind: aString, keyword: true, doc: `"os/arch[/variant]"; this machine's`},
	}, accessParams),
	gives: "an image: .id, .digest, .names",
	example: `image = commit(ctr, "dir:example-pull")
print(pull("dir:example-pull").id == image.id)`,
	do: func(c *call) (starlark.Value, error) {
		access, err := c.access()
		if err != nil {
			return nil, err
		}
		o := engine.PullOptions{Image: c.text("image"), Policy: "always", Platform: c.text("platform"), Access: access}
		if c.given("policy") {
			o.Policy = c.text("policy")
		}
		image, err := c.session.engine.Pull(c.ctx(), o)
		if err != nil {
			return nil, err
		}
		return &imageValue{image}, nil
	},
}
