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
--authfile). A registry on the loopback interface may speak plain HTTP.

Signatures of GPG are made by the gpg program with the user's keys (GNUPGHOME), and go where registries.d says; those of
sigstore need use-sigstore-attachments there.`,
	params: slices.Concat([]param{
		{name: "image", kind: anImage, required: true, doc: "what is sent"},
		{name: "dest", kind: aString, doc: "where to"},
		{name: "format", kind: aString, keyword: true, doc: `"oci", "docker" (also "v2s2") or "v2s1"; the one it has`},
	}, compressionParams, protectionParams, []param{
		{name: "remove_signatures", kind: aBool, keyword: true, doc: "leave out the signatures that the image has in the store"},
		{name: "digestfile", kind: aPath, keyword: true, doc: "file that the digest is written to"},
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
		o := engine.PushOptions{Dest: c.text("dest"), Format: c.text("format"), DigestFile: c.hostPath("digestfile")}
		o.RemoveSignatures = c.flag("remove_signatures", false)
		if o.Compression, err = c.compression(); err != nil {
			return nil, err
		}
		if o.Protection, err = c.protection(); err != nil {
			return nil, err
		}
		if o.Access, err = c.access(); err != nil {
			return nil, err
		}
		pushed, err := c.session.engine.Push(c.ctx(), image, o)
		if err != nil {
			return nil, err
		}
		return starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
			"digest":    starlark.String(pushed.Digest),
			"reference": starlark.String(pushed.Reference),
		}), nil
	},
}

// The options of those verbs that write compressed layers.
var (
	compressionFormat = param{
		name: "compression_format", kind: aString, keyword: true, fallback: `"gzip"`,
		doc: `"gzip", "zstd" or "zstd:chunked", for layers that are written outside the store`,
	}
	compressionLevel = param{
		name: "compression_level", kind: anInt, keyword: true,
		doc: "1 to 9 for gzip, 1 to 22 for zstd; the format's own default",
	}
	compressionParams = []param{
		compressionFormat, compressionLevel,
		{name: "force_compression", kind: aBool, keyword: true,
			doc: "send layers again that the destination has in another format; True if compression_format is given"},
		{name: "disable_compression", kind: aBool, keyword: true, doc: "leave the layers uncompressed"},
	}
)

// compression returns what those parameters say.
func (c *call) compression() (engine.Compression, error) {
	compression := engine.Compression{Format: c.text("compression_format"), Disable: c.flag("disable_compression", false)}
	if force, ok := c.values["force_compression"].(starlark.Bool); ok {
		compression.Force = new(bool(force))
	}
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
