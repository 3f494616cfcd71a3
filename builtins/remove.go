package builtins

import (
	"errors"

	"go.starlark.net/starlark"
)

var removeVerb = &verb{
	name:    "remove",
	summary: "deletes containers and images before the script ends",
	doc: `A string is looked for among the containers, then among the lists of images, which leave their images, then among the
images. An image value goes with all its names. By name an
image with several loses that one, and by ID it is only deleted by force, as with buildah rmi. Containers of podman are left
alone. Of a list everything that can be deleted is, also behind what can't.`,
	params: []param{
		{name: "what", kind: removed, required: true, doc: "what is deleted"},
		{name: "force", kind: aBool, keyword: true, fallback: "False",
			doc: "an image goes also if it has several names, and with the containers that are made from it"},
	},
	example: `remove(ctr)`,
	more: []string{`image = commit(ctr, "localhost/example-remove")
other = from_(image)
remove([ctr, image], force = True)`,
		`remove(containers())                                  # buildah rm --all
remove(images(all = True), force = True)              # buildah rmi --all --force`},
	do: func(c *call) (starlark.Value, error) {
		if !isSequence(c.values["what"]) {
			return nil, c.remove(c.values["what"])
		}
		var errs []error
		for _, what := range elements(c.values["what"]) {
			errs = append(errs, c.remove(what))
		}
		return nil, errors.Join(errs...)
	},
}

func isSequence(v starlark.Value) bool { return is[*starlark.List](v) || is[starlark.Tuple](v) }

func (c *call) remove(what starlark.Value) error {
	run, force := c.session.engine, c.flag("force", false)
	switch v := what.(type) {
	case *containerValue:
		return v.container.Remove()
	case *imageValue:
		return run.RemoveImage(c.ctx(), v.image, force)
	case *manifestValue:
		return run.RemoveList(c.ctx(), v.list.ID, true)
	}
	name, _ := starlark.AsString(what)
	if found, err := run.RemoveContainer(name); found || err != nil {
		return err
	}
	if list, err := c.list(what); err != nil {
		return err
	} else if list != nil {
		return run.RemoveList(c.ctx(), name, force)
	}
	return run.RemoveImageNamed(c.ctx(), name, force)
}
