package builtins

import (
	"slices"

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
	params: slices.Concat([]param{
		{name: "image", kind: anImage, required: true, doc: "what is sent"},
		{name: "dest", kind: aString, doc: "where to"},
		{name: "format", kind: aString, keyword: true, doc: `"oci" or "docker"; the one it has`},
		compressionFormat, compressionLevel,
	}, accessParams),
	gives: "a struct: digest of the manifest as it was written, reference by which it can be had again",
	example: `image = commit(ctr, "localhost/example-push")
print(push(image, "dir:example-push").digest)
remove(image)`,
	do: func(c *call) (starlark.Value, error) {
		image, err := c.image(c.values["image"])
		if err != nil {
			return nil, err
		}
		compression, err := c.compression()
		if err != nil {
			return nil, err
		}
		access, err := c.access()
		if err != nil {
			return nil, err
		}
		pushed, err := c.session.engine.Push(c.ctx(), image, engine.PushOptions{
			Dest: c.text("dest"), Format: c.text("format"), Compression: compression, Access: access,
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

// The parameters of those verbs that write compressed layers.
var (
	compressionFormat = param{
		name: "compression_format", kind: aString, keyword: true, fallback: `"gzip"`,
		doc: `"gzip" or "zstd", for layers that are written outside the store`,
	}
	compressionLevel = param{
		name: "compression_level", kind: anInt, keyword: true,
		doc: "1 to 9 for gzip, 1 to 22 for zstd; the format's own default",
	}
)

// compression returns what those parameters say.
func (c *call) compression() (engine.Compression, error) {
	compression := engine.Compression{Format: c.text("compression_format")}
	value, given := c.values["compression_level"]
	if !given {
		return compression, nil
	}
	level, err := starlark.AsInt32(value)
	if err != nil || level < 1 {
		return compression, c.wrong("compression_level", "got %s, want 1 or more", value)
	}
	compression.Level = level
	return compression, nil
}

// image returns an argument that is an image or the name of one in the store.
func (c *call) image(value starlark.Value) (*engine.Image, error) {
	if v, ok := value.(*imageValue); ok {
		return v.image, nil
	}
	name, _ := starlark.AsString(value)
	return c.session.engine.Image(name)
}
