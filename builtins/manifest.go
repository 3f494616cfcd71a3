package builtins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/rlbuild/rlbuild/engine"
)

var manifestVerb = &verb{
	name:    "manifest",
	summary: "makes a list of images for several platforms, or of artefacts",
	doc: `The list is a name in the store for all its images, which a push sends along. An image is a value, a name in the store,
a name at a registry or another transport, or one of these with something said about it: instance(image, …). Files that
are no image: artifact(files, …).

A list that has the name already is replaced when the new one is there, and stays if that fails; with amend = True it is
changed: images are added, and instance("sha256:…", …) says something about one that is in it.`,
	params: slices.Concat([]param{
		{name: "name", kind: aString, required: true, doc: "the list's name in the store"},
		{name: "images", kind: kind{"a list of images, names, instances and artefacts", listOf(isMember)}, doc: "what is in the list"},
		{name: "annotations", kind: aMapping, keyword: true, doc: "annotations of the list itself"},
		{name: "artifact_type", kind: aString, keyword: true, doc: "media type of what the list is, if it isn't images"},
		{name: "subject", kind: anImage, keyword: true, doc: "the image that the list is about"},
		{name: "all", kind: aBool, keyword: true, fallback: "False",
			doc: "take all images of those that are lists themselves, rather than this platform's"},
		{name: "amend", kind: aBool, keyword: true, fallback: "False", doc: "change the list if there is one, rather than replace it"},
		{name: "remove", kind: kind{"a list of images, their names, or digests in the list", listOf(anImage.takes)}, keyword: true,
			doc: "what is taken out of a list that is amended"},
		{name: "replace", kind: aBool, keyword: true, fallback: "False", doc: "take the name from a single image that has it"},
	}, accessParams),
	gives: "a manifest: .id, .digest, .names, .instances",
	example: `config(ctr, arch = "amd64")
amd = commit(ctr, "localhost/example-manifest:amd64")
config(ctr, arch = "arm64")
arm = commit(ctr, "localhost/example-manifest:arm64")
app = manifest("localhost/example-manifest", [amd, instance(arm, variant = "v8")])
print([i.arch for i in app.instances])
push(app, "dir:example-manifest")
remove(app)`,
	more: []string{`path("notes.txt").write("notes")
base = commit(ctr, "localhost/example-base")
notes = artifact("notes.txt", type = "text/plain", subject = base)
docs = manifest(
    "localhost/example-docs", [base, notes], annotations = {"title": "Docs"}, artifact_type = "text/vnd.docs", subject = base)
print(len(docs.instances))`,
		`one = commit(ctr, "localhost/example-one")
config(ctr, label = {"number": "two"})
two = commit(ctr, "localhost/example-two")
tag(two, "localhost/example-list")
app = manifest("localhost/example-list", ["localhost/example-one"], replace = True)
noted = instance(app.instances[0].digest, annotations = {"is": "one"})
more = manifest("localhost/example-list", [two, noted], amend = True)
less = manifest("localhost/example-list", amend = True, remove = [one])
both = manifest("localhost/example-both", [less, "localhost/example-one"], all = True)
print(len(more.instances), len(less.instances), len(both.instances))`,
		`path("auth.json").write("{}")
there = commit(ctr, "localhost/example-there")
place = arg("place", default = "localhost/example-there") # or docker://registry.example/app:1
password = env("PASSWORD", default = "")
print(manifest("localhost/example-access", [place], creds = "me:" + password, authfile = "auth.json", cert_dir = ".",
    tls_verify = True, retry = 5, retry_delay = "10s"))`},
	do: func(c *call) (starlark.Value, error) {
		o := engine.ManifestOptions{
			Name: c.text("name"), All: c.flag("all", false), Amend: c.flag("amend", false), Replace: c.flag("replace", false),
			Settings: engine.IndexSettings{
				Annotations: c.pairs("annotations"), ArtifactType: c.text("artifact_type"), Subject: c.imageName("subject"),
			},
		}
		var err error
		if o.Access, err = c.access(); err != nil {
			return nil, err
		}
		for _, value := range elements(c.values["images"]) {
			o.Entries = append(o.Entries, entryOf(value))
		}
		for _, value := range elements(c.values["remove"]) {
			o.Remove = append(o.Remove, imageNameOf(value))
		}
		list, err := c.session.engine.Manifest(c.ctx(), o)
		if err != nil {
			return nil, err
		}
		return &manifestValue{list}, nil
	},
}

var instanceVerb = &verb{
	name:    "instance",
	summary: "says something about an image or an artefact of a list",
	doc:     "What isn't said comes from the image's own configuration.",
	pure:    true,
	params: []param{
		{name: "image", kind: kind{"an image, its name, an artefact, or a digest in a list", isMember}, required: true,
			doc: "what becomes part of a list; a digest is of what is in a list that is amended"},
		{name: "arch", kind: aString, keyword: true, doc: `its architecture, for example "arm64"`},
		{name: "os", kind: aString, keyword: true, doc: `its operating system, for example "linux"`},
		{name: "variant", kind: aString, keyword: true, doc: `its architecture's variant, for example "v8"`},
		{name: "os_version", kind: aString, keyword: true, doc: "the version of its operating system"},
		{name: "os_features", kind: texts, keyword: true, doc: "what it needs of its operating system"},
		{name: "features", kind: texts, keyword: true, doc: "what it needs of its processor; docker's format has that, OCI's hasn't"},
		{name: "annotations", kind: aMapping, keyword: true, doc: "annotations of its entry in the list"},
		{name: "all", kind: aBool, keyword: true, fallback: "False",
			doc: "of a list: take all its images, rather than this platform's"},
	},
	gives: "an instance, for manifest",
	example: `image = commit(ctr, "localhost/example-instance")
list = manifest("localhost/example-instances", [
    instance(image, os = "linux", arch = "arm", variant = "v7", annotations = {"board": "small"}),
])
print(list.instances[0].arch, list.instances[0].variant)`,
	more: []string{`image = commit(ctr, "localhost/example-windows")
windows = instance(image, os = "windows", os_version = "10.0", os_features = ["win32k"], features = ["sse4"])
list = manifest("localhost/example-windows-list", [windows])
more = manifest("localhost/example-windows-more", [instance(list, all = True)])
print(more.instances[0].os_version)`},
	do: func(c *call) (starlark.Value, error) {
		entry := entryOf(c.values["image"])
		for _, text := range []struct {
			name  string
			field *string
		}{
			{"arch", &entry.Arch}, {"os", &entry.OS}, {"variant", &entry.Variant}, {"os_version", &entry.OSVersion},
		} {
			if c.given(text.name) {
				*text.field = c.text(text.name)
			}
		}
		if c.given("os_features") {
			entry.OSFeatures = c.texts("os_features")
		}
		if c.given("features") {
			entry.Features = c.texts("features")
		}
		if c.given("annotations") {
			entry.Annotations = c.pairs("annotations")
		}
		entry.All = c.flag("all", entry.All)
		return &instanceValue{entry}, nil
	},
}

var artifactVerb = &verb{
	name:    "artifact",
	summary: "makes an artefact of files, for a list",
	doc:     "The files are read when the list is made, and again when it is pushed: they stay where they are until then.",
	pure:    true,
	params: []param{
		{name: "files", kind: paths, doc: "what is in it; none is fine"},
		{name: "type", kind: aString, keyword: true, fallback: `"application/vnd.unknown.artifact.v1"`, doc: "media type of it all"},
		{name: "config", kind: aPath, keyword: true, doc: "file with its configuration"},
		{name: "config_type", kind: aString, keyword: true, fallback: `"application/vnd.oci.empty.v1+json"`,
			doc: "media type of its configuration"},
		{name: "layer_type", kind: aString, keyword: true, doc: "media type of the files; by their names and contents"},
		{name: "subject", kind: anImage, keyword: true, doc: "the image that it is about"},
		{name: "annotations", kind: aMapping, keyword: true, doc: "its annotations; those of its entry in the list are the instance's"},
		{name: "exclude_titles", kind: aBool, keyword: true, fallback: "False", doc: "don't note the files' names"},
	},
	gives: "an artefact, for manifest and instance",
	example: `path("sbom.json").write("{}")
image = commit(ctr, "localhost/example-artifact")
sbom = artifact(["sbom.json"], type = "application/spdx+json", subject = image, annotations = {"tool": "none"})
list = manifest("localhost/example-artifacts", [image, sbom])
print(list.instances[1].artifact_type)`,
	more: []string{`path("model.bin").write("weights")
path("model.json").write("{}")
model = artifact("model.bin", config = "model.json", config_type = "application/vnd.model.config+json",
    layer_type = "application/vnd.model.weights", exclude_titles = True)
push(manifest("localhost/example-model", [model]), "dir:example-model")`},
	do: func(c *call) (starlark.Value, error) {
		a := &engine.Artifact{
			Type: c.text("type"), ConfigType: c.text("config_type"), LayerType: c.text("layer_type"),
			Subject: c.imageName("subject"), Annotations: c.pairs("annotations"), ExcludeTitles: c.flag("exclude_titles", false),
		}
		var err error
		if a.Config, err = c.placeOf("config"); err != nil {
			return nil, err
		}
		if a.Files, err = c.places("files"); err != nil {
			return nil, err
		}
		return &artifactValue{a}, nil
	},
}

// isMember accepts what can be in a list.
func isMember(v starlark.Value) bool {
	return anImage.takes(v) || is[*instanceValue](v) || is[*artifactValue](v)
}

// entryOf returns what a member of a list is to the engine.
func entryOf(value starlark.Value) engine.ListEntry {
	switch v := value.(type) {
	case *instanceValue:
		return v.entry
	case *artifactValue:
		return engine.ListEntry{Artifact: v.artifact}
	}
	return engine.ListEntry{Image: imageNameOf(value)}
}

// imageNameOf returns an image or the name of one.
func imageNameOf(value starlark.Value) engine.ImageName {
	switch v := value.(type) {
	case *imageValue:
		return engine.ImageName{Image: v.image}
	case *manifestValue:
		return engine.ImageName{Image: &v.list.Image}
	}
	return engine.ImageName{Text: hostString(value)}
}

// imageName returns an argument that is an image or the name of one, nil if it wasn't given.
func (c *call) imageName(name string) *engine.ImageName {
	if !c.given(name) {
		return nil
	}
	return new(imageNameOf(c.values[name]))
}

// pairs returns a dict argument.
func (c *call) pairs(name string) map[string]string {
	dict, _ := c.values[name].(*starlark.Dict)
	if dict == nil {
		return nil
	}
	all := map[string]string{}
	for _, item := range dict.Items() {
		all[hostString(item[0])] = hostString(item[1])
	}
	return all
}

// manifestValue is a list of images: .id, .digest, .names, .instances.
type manifestValue struct{ list *engine.ImageList }

func (v *manifestValue) String() string {
	if len(v.list.Names) > 0 {
		return "manifest(" + v.list.Names[0] + ")"
	}
	return fmt.Sprintf("manifest(%.12s)", v.list.ID)
}
func (v *manifestValue) Type() string          { return "manifest" }
func (v *manifestValue) Freeze()               {}
func (v *manifestValue) Truth() starlark.Bool  { return true }
func (v *manifestValue) Hash() (uint32, error) { return hash(v.list.ID), nil }
func (v *manifestValue) AttrNames() []string   { return []string{"digest", "id", "instances", "names"} }
func (v *manifestValue) Attr(name string) (starlark.Value, error) {
	if name != "instances" {
		if !slices.Contains(v.AttrNames(), name) {
			return nil, noAttr(v, name)
		}
		return (&imageValue{&v.list.Image}).Attr(name)
	}
	items := make([]starlark.Value, len(v.list.Instances))
	for i, instance := range v.list.Instances {
		annotations := starlark.NewDict(len(instance.Annotations))
		for _, key := range slices.Sorted(maps.Keys(instance.Annotations)) {
			_ = annotations.SetKey(starlark.String(key), starlark.String(instance.Annotations[key])) // strings hash, and it isn't frozen
		}
		items[i] = starlarkstruct.FromStringDict(starlark.String("instance"), starlark.StringDict{
			"digest":        starlark.String(instance.Digest),
			"media_type":    starlark.String(instance.MediaType),
			"artifact_type": starlark.String(instance.ArtifactType),
			"size":          starlark.MakeInt64(instance.Size),
			"os":            starlark.String(instance.OS),
			"arch":          starlark.String(instance.Arch),
			"variant":       starlark.String(instance.Variant),
			"os_version":    starlark.String(instance.OSVersion),
			"annotations":   annotations,
		})
	}
	return starlark.NewList(items), nil
}

// instanceValue is what is said about a member of a list.
type instanceValue struct{ entry engine.ListEntry }

func (v *instanceValue) String() string {
	if v.entry.Artifact != nil {
		return "instance(" + (&artifactValue{v.entry.Artifact}).String() + ")"
	}
	return "instance(" + v.entry.Image.String() + ")"
}
func (v *instanceValue) Type() string          { return "instance" }
func (v *instanceValue) Freeze()               {}
func (v *instanceValue) Truth() starlark.Bool  { return true }
func (v *instanceValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: instance") }

// artifactValue is files for a list.
type artifactValue struct{ artifact *engine.Artifact }

func (v *artifactValue) String() string {
	return "artifact(" + strings.Join(v.artifact.Files, ", ") + ")"
}
func (v *artifactValue) Type() string          { return "artifact" }
func (v *artifactValue) Freeze()               {}
func (v *artifactValue) Truth() starlark.Bool  { return true }
func (v *artifactValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: artifact") }
