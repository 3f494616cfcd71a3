package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var fromVerb = &verb{
	name:    "from_",
	summary: "makes a working container from an image",
	doc: `The image is a name ("docker.io/library/debian:bookworm", "localhost/app"), a name at a transport ("oci-archive:app.tar",
"docker-archive:FILE", "oci:DIR", "dir:DIR", "docker-daemon:NAME", "sif:FILE", "tarball:FILE" for a root file system in a tar
archive), an image, a manifest, which stands for its image of the platform, or "scratch" for nothing at all. The container is deleted when the script ends, however it ends.

Instructions that the image holds for those who build upon it (ONBUILD, in images of docker format) are carried out, as in
a Containerfile; the files that they copy are those of the script's directory.

format says what the configuration is meant for; commit has a format of its own.

from is a reserved word in Starlark, hence the underscore.`,
	params: slices.Concat([]param{
		{name: "image", kind: aBase, required: true, doc: "what it starts from"},
		{name: "name", kind: aString, keyword: true, doc: "the container's name; one is made up from the image's"},
		{name: "pull", kind: aPolicy, keyword: true, fallback: `"missing"`, doc: policyDoc},
		formatParam,
		decryptionKey,
		{name: "volume", kind: texts, keyword: true, doc: `host directories that all steps find, as volume of run: "source:target[:options]"`},
		{name: "keep", kind: aBool, keyword: true, fallback: "False", doc: "leave the container for a look when the script has ended, and say its name"},
	}, platformParams, stepDefaultParams, userParams, accessParams),
	gives: "a container: .id, .name, .image, .image_id, .builder",
	example: `empty = from_("scratch", name = "nothing-yet", format = "docker")
print(empty.name)`,
	more: append([]string{
		`commit(ctr, "oci:example-from")
again = from_("oci:example-from", pull = "always", platform = "linux/amd64")
print(again.name)`,
		`commit(ctr, "localhost/example-from")
again = from_("localhost/example-from", pull = False, os = "linux")
path("container-id").write(again.id)                  # buildah's --cidfile
remove("localhost/example-from", force = True)`,
		`commit(ctr, "oci:example-armv7")
other = from_("oci:example-armv7", arch = "arm", variant = "v7")`,
		`again = from_("oci-archive:" + arg("base"), decryption_key = [], keep = True)
remove(again)                                         # or look at it later`,
		`path("certs").mkdir()
path("auth.json").write("{}")
commit(ctr, "oci:example-from")
from_("oci:example-from", authfile = "auth.json", cert_dir = "certs", creds = "user:password", tls_verify = True,
    retry = 5, retry_delay = "1s")                        # all of it for registries`,
		`path("packages").mkdir()
builder = from_("scratch", volume = ["packages:/var/cache/packages:ro"])`,
	}, slices.Concat(stepDefaultExamples, userExamples)...),
	do: func(c *call) (starlark.Value, error) {
		access, err := c.access()
		if err != nil {
			return nil, err
		}
		steps, err := c.stepDefaults()
		if err != nil {
			return nil, err
		}
		keys, err := c.decryptionKeys()
		if err != nil {
			return nil, err
		}
		o := engine.FromOptions{
			Image:          c.text("image"),
			Name:           c.text("name"),
			Pull:           c.policy("pull"),
			Platform:       c.platform(),
			Format:         c.format(),
			DecryptionKeys: keys,
			Keep:           c.flag("keep", false),
			Access:         access,
			Steps:          steps,
			Volumes:        c.texts("volume"),
			Users:          c.users(),
		}
		if image, ok := c.values["image"].(*imageValue); ok {
			if o.Image, err = c.storedID("image", image); err != nil {
				return nil, err
			}
			o.Pull = "never"
		} else if v, ok := c.values["image"].(*manifestValue); ok {
			o.Image, o.Pull = v.list.ID, "never"
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
