package builtins

import "go.starlark.net/starlark"

var tagVerb = &verb{
	name:    "tag",
	summary: "gives an image of the store more names",
	doc:     "A name that another image had moves to this one, in one step: at every moment one of them has it.",
	params: []param{
		{name: "image", kind: anImage, required: true, doc: "the image"},
		{name: "names", kind: aString, required: true, many: true, doc: "its new names"},
	},
	gives: "the image",
	example: `image = commit(ctr, "localhost/example-tag")
tag(image, "localhost/example-tag:v1", "localhost/example-tag:v1.2")
print(image.names)
remove(image)`,
	do: func(c *call) (starlark.Value, error) {
		image, value, err := c.listOrImage(c.values["image"])
		if err != nil {
			return nil, err
		}
		if err := c.session.engine.Tag(image, hostStrings(c.rest)); err != nil {
			return nil, err
		}
		return value, nil
	},
}
