package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var commitVerb = &verb{
	name:    "commit",
	summary: "makes an image of a container's files and configuration",
	doc: `A plain name is one in the store, where podman and buildah see it at once: "app" is localhost/app:latest. Names at a
transport write the image there: docker://registry/name:tag, oci:DIR[:NAME], oci-archive:FILE[:NAME],
docker-archive:FILE[:NAME:TAG], dir:DIR, containers-storage:NAME. The container stays and can go on changing; with
rm = True it is removed, as by remove(ctr), and an image in the store takes over its files instead of a copy.`,
	params: slices.Concat([]param{ctrParam,
		{name: "name", kind: aString, doc: "the image's name; an image in the store needs none"},
		{name: "format", kind: aString, keyword: true, fallback: `"oci"`, doc: `"oci" or "docker"`},
		{name: "squash", kind: aBool, keyword: true, fallback: "False", doc: "a single layer, the base image's files included"},
		{name: "rm", kind: aBool, keyword: true, fallback: "False", doc: "the container isn't needed any more: remove it"},
		compressionFormat, compressionLevel,
	}, accessParams),
	gives: "an image: .id, .digest, .names",
	example: `image = commit(ctr, "localhost/example-commit")
print(image.names, image.digest)
remove(image)`,
	do: func(c *call) (starlark.Value, error) {
		compression, err := c.compression()
		if err != nil {
			return nil, err
		}
		access, err := c.access()
		if err != nil {
			return nil, err
		}
		image, err := c.container().Commit(c.ctx(), engine.CommitOptions{
			Name: c.text("name"), Format: c.text("format"), Squash: c.flag("squash", false), Remove: c.flag("rm", false),
			Compression: compression, Access: access,
		})
		if err != nil {
			return nil, err
		}
		return &imageValue{image}, nil
	},
}
