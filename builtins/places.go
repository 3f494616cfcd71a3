package builtins

import (
	"path/filepath"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// sourceOf returns a path argument as the engine takes what it reads. It fails when the mount was released.
func (c *call) sourceOf(value starlark.Value) (engine.Source, error) {
	p := c.place(value)
	_, err := p.files()
	return engine.Source{Root: p.root, Path: p.name}, err
}

// source is sourceOf for a parameter, nil if it wasn't given.
func (c *call) source(name string) (*engine.Source, error) {
	if !c.given(name) {
		return nil, nil
	}
	source, err := c.sourceOf(c.values[name])
	return &source, err
}

// placed returns the host's path of something that is there: below a mount, where it leads inside.
func (c *call) placed(name string, value starlark.Value) (string, error) {
	source, err := c.sourceOf(value)
	if err != nil {
		return "", err
	}
	at, err := source.Resolve()
	if err != nil {
		return "", c.wrong(name, "%w", err)
	}
	return at, nil
}

// placeOf is placed for a parameter, "" if it wasn't given.
func (c *call) placeOf(name string) (string, error) {
	if !c.given(name) {
		return "", nil
	}
	return c.placed(name, c.values[name])
}

// places is placed for a parameter that takes one path or several.
func (c *call) places(name string) ([]string, error) {
	var all []string
	for _, value := range oneOrMore(c.values[name]) {
		at, err := c.placed(name, value)
		if err != nil {
			return nil, err
		}
		all = append(all, at)
	}
	return all, nil
}

// newFile returns the host's path of something that is to be written, perhaps for the first time. Below a mount no link
// leads out: its directory must be there.
func (c *call) newFile(name string, value starlark.Value) (string, error) {
	p := c.place(value)
	files, err := p.files()
	if err != nil {
		return "", err
	}
	if p.container == nil {
		return p.host(), nil
	}
	if _, err := files.Lstat(p.name); err == nil {
		return c.placed(name, p) // a link leads to something inside, or is refused
	}
	dir, err := c.placed(name, p.join(".."))
	return filepath.Join(dir, filepath.Base(p.name)), err
}
