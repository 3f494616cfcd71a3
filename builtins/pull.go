package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var pullVerb = &verb{
	name:    "pull",
	summary: "fetches an image into the store",
	doc:     `The policy counts for registries; what lies at another transport is always read.`,
	params: slices.Concat([]param{
		{name: "image", kind: aString, required: true, doc: "its name, or its name at a transport, as for from_"},
		{name: "policy", kind: aPolicy, keyword: true, fallback: `"missing"`, doc: policyDoc},
		{name: "all_tags", kind: aBool, keyword: true, fallback: "False", doc: "every tag of the registry's repository; gives a list"},
		{name: "remove_signatures", kind: aBool, keyword: true, fallback: "False", doc: "don't store the image's signatures"},
		decryptionKey,
	}, platformParams, accessParams),
	gives: "an image: .id, .digest, .names, …; with all_tags a list of them",
	example: `image = commit(ctr, "dir:example-pull")
print(pull("dir:example-pull", remove_signatures = True).id == image.id)`,
	more: []string{
		`commit(ctr, "localhost/example-pull")
print(pull("localhost/example-pull", policy = "never", platform = "linux/amd64", all_tags = False).names)
remove("localhost/example-pull")`,
		`commit(ctr, "oci:example-pull:v1")
remove(pull("oci:example-pull:v1", os = "linux", arch = "arm64", variant = "v8", decryption_key = []))`,
		`path("certs").mkdir()
path("auth.json").write("{}")
commit(ctr, "oci:example-pull")
pull("oci:example-pull", authfile = "auth.json", cert_dir = "certs", creds = "user:password", tls_verify = True,
    retry = 5, retry_delay = "1s")                        # all of it for registries`,
	},
	do: func(c *call) (starlark.Value, error) {
		access, err := c.access()
		if err != nil {
			return nil, err
		}
		keys, err := c.decryptionKeys()
		if err != nil {
			return nil, err
		}
		images, err := c.session.engine.Pull(c.ctx(), engine.PullOptions{
			Image:            c.text("image"),
			AllTags:          c.flag("all_tags", false),
			Policy:           c.policy("policy"),
			Platform:         c.platform(),
			RemoveSignatures: c.flag("remove_signatures", false),
			DecryptionKeys:   keys,
			Access:           access,
		})
		if err != nil {
			return nil, err
		}
		if c.flag("all_tags", false) {
			return imageList(images), nil
		}
		return &imageValue{images[0]}, nil
	},
}
