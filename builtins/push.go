package builtins

import (
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/rlbuild/rlbuild/engine"
)

var pushVerb = &verb{
	name:    "push",
	summary: "copies an image from the store to a registry, an archive or a directory",
	doc: `The destination is a name at a transport, as for commit; without a transport a registry is meant, and without a
destination the image's own first name. Credentials come from the usual files (podman login, skopeo login, docker login,
--authfile). A registry on the loopback interface may speak plain HTTP.`,
	params: []param{
		{name: "image", kind: anImage, required: true, doc: "what is sent"},
		{name: "dest", kind: aString, doc: "where to"},
		{name: "format", kind: aString, keyword: true, doc: `"oci" or "docker"; the one it has`},
	},
	gives: "a struct: digest of the manifest as it was written, reference by which it can be had again",
	example: `image = commit(ctr, "localhost/example-push")
print(push(image, "dir:example-push").digest)
remove(image)`,
	do: func(c *call) (starlark.Value, error) {
		image, err := c.image(c.values["image"])
		if err != nil {
			return nil, err
		}
		pushed, err := c.session.engine.Push(c.ctx(), image, engine.PushOptions{
			Dest: c.text("dest"), Format: c.text("format"),
		})
		if err != nil {
			return nil, err
		}
		return starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
			"digest":    starlark.String(pushed.Digest),
			"reference": starlark.String(pushed.Reference),
		}), nil
	},
}

// image returns an argument that is an image or the name of one in the store.
func (c *call) image(value starlark.Value) (*engine.Image, error) {
	if v, ok := value.(*imageValue); ok {
		return v.image, nil
	}
	name, _ := starlark.AsString(value)
	return c.session.engine.Image(name)
}
