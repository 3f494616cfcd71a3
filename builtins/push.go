package builtins

import (
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/rlbuild/rlbuild/engine"
)

var pushVerb = &verb{
	name:    "push",
	summary: "copies an image, or a list of images, from the store to a registry, an archive or a directory",
	doc: `The destination is a name at a transport, as for commit; without a transport a registry is meant, and without a
destination the image's own first name. Credentials come from the usual files (podman login, skopeo login, docker login,
--authfile). A registry on the loopback interface may speak plain HTTP. Files and directories are there whole or not at all, as
commit writes them; so is an image at a registry, whose manifest is sent last.

Signatures of GPG are made by the gpg program with the user's keys (GNUPGHOME), and go where registries.d says; those of
sigstore need use-sigstore-attachments there.`,
	params: slices.Concat([]param{
		{name: "image", kind: anImage, required: true, doc: "what is sent"},
		{name: "dest", kind: aString, doc: "where to"},
		{name: "format", kind: aString, keyword: true, doc: `"oci", "docker" (also "v2s2") or "v2s1"; the one it has`},
	}, compressionParams, protectionParams, []param{
		{name: "remove_signatures", kind: aBool, keyword: true, doc: "leave out the signatures that the image has in the store"},
		{name: "digestfile", kind: aPath, keyword: true, doc: "file that the digest is written to"},
		{name: "all", kind: aBool, keyword: true, fallback: "True", doc: "of a list: send its images too; they are there if this is False"},
		{name: "rm", kind: aBool, keyword: true, fallback: "False", doc: "of a list: remove it from the store when it is sent"},
		{name: "add_compression", kind: texts, keyword: true,
			doc: "of a list: add each image in these compressions too, beside those it has"},
		{name: "timestamp", kind: aTime, keyword: true, doc: "of a list: the time of files in layers that are written anew"},
	}, accessParams),
	gives: "a struct: digest of the manifest as it was written, reference by which it can be had again",
	example: `image = commit(ctr, "localhost/example-push")
print(push(image, "dir:example-push").digest)
remove(image)`,
	more: []string{`image = commit(ctr, "localhost/example-compression")
push(image, "oci:example-zstd", format = "oci", compression_format = "zstd", compression_level = 5, force_compression = True)
push(image, "dir:example-plain", disable_compression = True, remove_signatures = True, digestfile = "digest")
print(path("digest").read())`,
		`path("auth.json").write("{}")
image = commit(ctr, "localhost/example-access")
place = arg("place", default = "dir:example-access")      # or docker://registry.example/app:1
password = env("PASSWORD", default = "")
push(image, place, creds = "me:" + password, authfile = "auth.json", cert_dir = ".", tls_verify = True,
    retry = 5, retry_delay = "10s")`,
		`path("public.pem").write("""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEp5KEOngeY5os1okbdbTvMaFGOUW
k7zLN1U8InJhf+dPzFrGg+rV7jtoOrYnC7CHkPupQyvUinVGSXwZepG5uA==
-----END PUBLIC KEY-----
""")
image = commit(ctr, "localhost/example-encrypted")
push(image, "oci:example-encrypted", encryption_key = ["jwe:public.pem"], encrypt_layer = [-1])`,
		`image = commit(ctr, "localhost/example-signed")
fingerprint = arg("fingerprint", default = "")            # of a GPG key: rlbuild sign.star fingerprint=…
if fingerprint:
    push(image, "docker://registry.example/app:1", sign_by = fingerprint, sign_passphrase_file = "passphrase")
if path("cosign.key").exists():
    push(image, "docker://registry.example/app:1", sign_by_sigstore_private_key = "cosign.key")`,
		`list = manifest("localhost/example-list", [commit(ctr, "localhost/example-single")])
push(list, "oci:example-list", all = True, add_compression = ["zstd"], timestamp = 0, rm = True)`},
	do: func(c *call) (starlark.Value, error) {
		o := engine.PushOptions{Dest: c.text("dest"), Format: c.text("format"), RemoveSignatures: c.flag("remove_signatures", false)}
		var err error
		if o.DigestFile, err = c.source("digestfile"); err != nil {
			return nil, err
		}
		if o.Compression, err = c.compression(); err != nil {
			return nil, err
		}
		if o.Protection, err = c.protection(); err != nil {
			return nil, err
		}
		if o.Access, err = c.access(); err != nil {
			return nil, err
		}
		if o.List, err = c.listPush(); err != nil {
			return nil, err
		}
		pushed, err := c.push(o)
		if err != nil {
			return nil, err
		}
		return starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
			"digest":    starlark.String(pushed.Digest),
			"reference": starlark.String(pushed.Reference),
		}), nil
	},
}

// push sends the image, or the list with its images.
func (c *call) push(o engine.PushOptions) (*engine.Pushed, error) {
	list, err := c.list(c.values["image"])
	if err != nil {
		return nil, err
	}
	if list != nil {
		return c.session.engine.PushList(c.ctx(), list, o)
	}
	image, err := c.image(c.values["image"])
	if err != nil {
		return nil, err
	}
	return c.session.engine.Push(c.ctx(), image, o)
}

// listPush returns what the options say that are for lists.
func (c *call) listPush() (o engine.ListPushOptions, err error) {
	o = engine.ListPushOptions{
		ListOnly: !c.flag("all", true), Remove: c.flag("rm", false), AddCompression: c.texts("add_compression"),
	}
	o.Timestamp, err = c.time("timestamp")
	return o, err
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
	compression := engine.Compression{Format: c.text("compression_format"), Disable: c.flag("disable_compression", false),
		Force: c.choice("force_compression")}
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

// image returns an argument that is an image, a list as one, or the name of an image in the store.
func (c *call) image(value starlark.Value) (*engine.Image, error) {
	switch v := value.(type) {
	case *imageValue:
		return v.image, nil
	case *manifestValue:
		return &v.list.Image, nil
	}
	name, _ := starlark.AsString(value)
	return c.session.engine.Image(name)
}

// storedID returns the ID of an argument that is an image of the store.
func (c *call) storedID(param string, v *imageValue) (string, error) {
	if !v.image.Stored {
		return "", c.wrong(param, "%s was committed to a place outside the store", v).
			WithHint("name that place, or commit to a name in the store first.")
	}
	return v.image.ID, nil
}

// listOrImage returns an argument that is a list, an image, or the name of one, as an image and as a value.
func (c *call) listOrImage(value starlark.Value) (*engine.Image, starlark.Value, error) {
	list, err := c.list(value)
	if err != nil {
		return nil, nil, err
	}
	if list != nil {
		return &list.Image, &manifestValue{list}, nil
	}
	image, err := c.image(value)
	return image, &imageValue{image}, err
}

// list returns an argument that is a list or the name of one in the store, nil if it is something else.
func (c *call) list(value starlark.Value) (*engine.ImageList, error) {
	if v, ok := value.(*manifestValue); ok {
		return v.list, nil
	}
	name, ok := starlark.AsString(value)
	if !ok {
		return nil, nil
	}
	list, _, err := c.session.engine.List(name)
	return list, err
}
