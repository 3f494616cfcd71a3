package builtins

import (
	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var imagesVerb = &verb{
	name:    "images",
	summary: "lists the images of the store, the youngest first",
	doc: `Filters are those of buildah images: "reference=PATTERN", "dangling=true", "label=NAME[=VALUE]", "before=IMAGE",
"since=IMAGE", "readonly=false", "intermediate=true", "id=ID", "digest=DIGEST", "containers=true", "manifest=true",
"until=TIME"; with "!=" they are turned round. References are alternatives, all others must match.`,
	params: []param{
		{name: "image", kind: aString, doc: "the name or ID of the one that is wanted; it fails if there is none"},
		{name: "filter", kind: texts, keyword: true, doc: "what the images must be like"},
		{name: "all", kind: aBool, keyword: true, fallback: "False", doc: "with the nameless ones that others are built upon"},
	},
	gives: `a list of images: .id, .digest, .names, .created (a time), .size (bytes), .labels, .readonly, .names_history`,
	example: `image = commit(ctr, "localhost/example-images:1")
for i in images(filter = ["reference=localhost/example-*", "dangling=false"]):
    print(i.names, i.created.unix, i.size, i.labels, i.readonly, i.names_history)
print(images("localhost/example-images:1")[0].id == image.id)
remove(image)`,
	more: []string{`remove(ctr)
for i in images(filter = "dangling=true", all = True):    # buildah rmi --prune
    remove(i)`},
	do: func(c *call) (starlark.Value, error) {
		images, err := c.session.engine.Images(c.ctx(), engine.ImagesOptions{
			Name: c.text("image"), All: c.flag("all", false), Filters: c.texts("filter"),
		})
		if err != nil {
			return nil, err
		}
		return imageList(images), nil
	},
}

func imageList(images []*engine.Image) *starlark.List {
	values := make([]starlark.Value, len(images))
	for i, image := range images {
		values[i] = &imageValue{image}
	}
	return starlark.NewList(values)
}
