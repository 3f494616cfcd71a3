package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var inspectVerb = &verb{
	name:    "inspect",
	summary: "describes a container, an image or a manifest list",
	doc: `The dict is what buildah inspect prints: OCIv1 and Docker hold the configuration in the two formats; of a manifest list
it is the list. A string is looked for among the containers, then the images, then the lists. With type = "manifest" the list may
be in a registry or at another transport as well; the options about registries are for that.`,
	params: slices.Concat([]param{
		{name: "what", kind: inspected, required: true, doc: "what is described"},
		{name: "type", kind: aString, keyword: true, doc: `what a string names: "container", "image" or "manifest"; whatever is found first`},
	}, accessParams),
	gives: "a dict",
	example: `config(ctr, label = {"version": "1"})
print(inspect(ctr)["OCIv1"]["config"]["Labels"])`,
	more: []string{`image = commit(ctr, "localhost/example-inspect")
print(inspect("localhost/example-inspect", type = "image")["FromImageID"] == image.id)
remove(image)`,
		`path("certs").mkdir()
path("auth.json").write("{}")
def platforms(name):                                  # those of a list in a registry
    found = inspect(name, type = "manifest", authfile = "auth.json", cert_dir = "certs", creds = "user:password",
        tls_verify = True, retry = 5, retry_delay = "1s")
    return [m["platform"] for m in found["manifests"]]`},
	do: func(c *call) (starlark.Value, error) {
		described, err := c.inspect()
		if err != nil {
			return nil, err
		}
		return toStarlark(described), nil
	},
}

func (c *call) inspect() (map[string]any, error) {
	run := c.session.engine
	if c.given("type") && !isString(c.values["what"]) {
		return nil, c.wrong("type", "says what a string names, and %s is none", c.values["what"])
	}
	access, err := c.access()
	if err != nil {
		return nil, err
	}
	if c.text("type") != "manifest" && access != (engine.Access{}) {
		return nil, c.bad("takes options about registries for manifest lists alone").WithHint(`add type = "manifest".`)
	}
	switch v := c.values["what"].(type) {
	case *containerValue:
		return v.container.Inspect()
	case *imageValue:
		return run.Inspect(c.ctx(), v.image)
	case *manifestValue:
		return run.InspectManifest(v.list.ID)
	}
	name := c.text("what")
	switch c.text("type") {
	case "":
		return run.InspectAny(c.ctx(), name)
	case "container":
		container, err := run.Container(name)
		if err != nil {
			return nil, err
		}
		return container.Inspect()
	case "image":
		image, err := run.Image(name)
		if err != nil {
			return nil, err
		}
		return run.Inspect(c.ctx(), image)
	case "manifest":
		return run.InspectRemoteManifest(c.ctx(), name, access)
	}
	return nil, c.wrong("type", "%q is none of container, image, manifest", c.text("type"))
}
