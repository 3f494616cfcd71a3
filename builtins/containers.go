package builtins

import (
	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var containersVerb = &verb{
	name:    "containers",
	summary: "lists the working containers of the store",
	doc: `Beside those of this script they are those that an earlier one kept and those of buildah. Every verb takes them. They
stay when the script ends, with what it changed, unless it removes them.

Filters are those of buildah containers: "id=START", "name=PART" and "ancestor=IMAGE"; all must match. With all = True those of
other tools are in the list too, podman's for instance: they have the same attributes, .builder is False, and no verb takes them.`,
	params: []param{
		{name: "container", kind: aString, doc: "the name or ID of the one that is wanted; it fails if there is none"},
		{name: "filter", kind: texts, keyword: true, doc: "what the containers must be like"},
		{name: "all", kind: aBool, keyword: true, fallback: "False", doc: "with those of other tools"},
	},
	gives: "a list of containers: .id, .name, .image, .image_id, .builder",
	example: `for c in containers(filter = "name=" + ctr.name):
    print(c.id, c.name, c.image)
run(containers(ctr.name)[0], ["true"])`,
	more: []string{`for c in containers(all = True):
    print(c.name, c.image_id, c.builder)`},
	do: func(c *call) (starlark.Value, error) {
		found, err := c.session.engine.Containers(engine.ContainersOptions{
			Name: c.text("container"), All: c.flag("all", false), Filters: c.texts("filter"),
		})
		if err != nil {
			return nil, err
		}
		values := make([]starlark.Value, len(found))
		for i, f := range found {
			values[i] = &foreignValue{f}
			if f.Working != nil {
				values[i] = &containerValue{f.Working}
			}
		}
		return starlark.NewList(values), nil
	},
}

// foreignValue is a container of another tool: something to look at.
type foreignValue struct{ found engine.Found }

func (v *foreignValue) String() string        { return "container(" + v.found.Name + ")" }
func (v *foreignValue) Type() string          { return "container of another tool" }
func (v *foreignValue) Freeze()               {}
func (v *foreignValue) Truth() starlark.Bool  { return true }
func (v *foreignValue) Hash() (uint32, error) { return hash(v.found.ID), nil }
func (v *foreignValue) AttrNames() []string   { return containerAttrs }
func (v *foreignValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "id":
		return starlark.String(v.found.ID), nil
	case "name":
		return starlark.String(v.found.Name), nil
	case "image":
		return starlark.String(v.found.Image), nil
	case "image_id":
		return starlark.String(v.found.ImageID), nil
	case "builder":
		return starlark.False, nil
	}
	return nil, noAttr(v, name)
}
