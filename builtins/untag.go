package builtins

import "go.starlark.net/starlark"

var untagVerb = &verb{
	name:    "untag",
	summary: "takes names off an image of the store",
	doc:     "Without names it loses all of them. The image stays, and can be had by its ID.",
	params: []param{
		{name: "image", kind: anImage, required: true, doc: "the image"},
		{name: "names", kind: aString, many: true, doc: "the names that it loses"},
	},
	gives: "the image",
	example: `image = commit(ctr, "localhost/example-untag:1")
tag(image, "localhost/example-untag:2")
print(untag(image, "localhost/example-untag:1").names)
remove(untag(image))`,
	do: func(c *call) (starlark.Value, error) {
		image, value, err := c.listOrImage(c.values["image"])
		if err != nil {
			return nil, err
		}
		if err := c.session.engine.Untag(image, hostStrings(c.rest)); err != nil {
			return nil, err
		}
		return value, nil
	},
}
