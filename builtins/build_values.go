package builtins

import (
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// oneOrMore returns the elements of a list or tuple, or the one value; nothing for nil.
func oneOrMore(v starlark.Value) []starlark.Value {
	if v == nil {
		return nil
	}
	if is[*starlark.List](v) || is[starlark.Tuple](v) {
		return elements(v)
	}
	return []starlark.Value{v}
}

// fetched tells whether buildah fetches what goes by that name, instead of finding it on the host.
func fetched(text string) bool {
	return strings.Contains(text, "://") || strings.HasPrefix(text, "github.com/") || text == "-"
}

// sourceOf returns a path argument as the engine takes what it reads. It fails when the mount was released.
func (c *call) sourceOf(value starlark.Value) (engine.Source, error) {
	p := c.place(value)
	_, err := p.files()
	return engine.Source{Root: p.root, Path: p.name}, err
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

// lines returns a dict argument as NAME=VALUE lines in its order, NAME alone for None.
func (c *call) lines(name string) []string {
	dict, ok := c.values[name].(*starlark.Dict)
	if !ok {
		return nil
	}
	var lines []string
	for _, item := range dict.Items() {
		line := hostString(item[0])
		if item[1] != starlark.None {
			line += "=" + hostString(item[1])
		}
		lines = append(lines, line)
	}
	return lines
}

// buildSecrets returns the secrets as buildah writes them, with paths of the host.
func (c *call) buildSecrets() ([]string, error) {
	var all []string
	if dict, ok := c.values["secret"].(*starlark.Dict); ok {
		for _, item := range dict.Items() {
			spec, err := c.fileSecret(hostString(item[0]), item[1])
			if err != nil {
				return nil, err
			}
			all = append(all, spec)
		}
		return all, nil
	}
	for _, text := range c.texts("secret") {
		spec, err := c.secretSpec(text)
		if err != nil {
			return nil, err
		}
		all = append(all, spec)
	}
	return all, nil
}

// secretSpec completes "id=ID[,src=PATH][,env=NAME][,type=file|env]". Without a source it is the variable ID of the
// environment, or else the file ID.
func (c *call) secretSpec(text string) (string, error) {
	fields := map[string]string{}
	for field := range strings.SplitSeq(text, ",") {
		key, value, found := strings.Cut(field, "=")
		switch {
		case !found || key != "id" && key != "src" && key != "env" && key != "type":
			// What was given may hold a secret, and doesn't belong into a message.
			return "", c.wrong("secret", `is not "id=ID,src=PATH" or "id=ID,env=NAME"`)
		}
		fields[key] = value
	}
	id := fields["id"]
	if id == "" {
		return "", c.wrong("secret", "lacks its id")
	}
	variable := fields["env"]
	if kind := fields["type"]; kind == "env" && variable == "" {
		variable = fields["src"]
		if variable == "" {
			variable = id
		}
	} else if _, set := c.session.options.Env[id]; set && kind == "" && variable == "" && fields["src"] == "" {
		variable = id
	}
	if variable != "" {
		if _, set := c.session.options.Env[variable]; !set {
			return "", c.wrong("secret", "%s: the environment has no variable %s", id, variable)
		}
		return "id=" + id + ",env=" + variable, nil
	}
	file := fields["src"]
	if file == "" {
		file = id
	}
	return c.fileSecret(id, starlark.String(file))
}

// fileSecret returns a secret that a file holds.
func (c *call) fileSecret(id string, file starlark.Value) (string, error) {
	at, err := c.placed("secret", file)
	if err != nil {
		return "", err
	}
	if strings.Contains(id+at, ",") {
		return "", c.wrong("secret", "%s: the library takes no comma in the name of a secret or its file", id)
	}
	return "id=" + id + ",src=" + at + ",type=file", nil
}

// buildSSH returns agents and keys as buildah writes them, with paths of the host.
func (c *call) buildSSH() ([]string, error) {
	type agent struct {
		id    string
		files []starlark.Value
	}
	var agents []agent
	if dict, ok := c.values["ssh"].(*starlark.Dict); ok {
		for _, item := range dict.Items() {
			agents = append(agents, agent{hostString(item[0]), oneOrMore(item[1])})
		}
	} else {
		for _, text := range c.texts("ssh") {
			id, files, given := strings.Cut(text, "=")
			a := agent{id: id}
			if given {
				for file := range strings.SplitSeq(files, ",") {
					a.files = append(a.files, starlark.String(file))
				}
			}
			agents = append(agents, a)
		}
	}
	// Bare names first: the library takes the keys of the one before for them.
	slices.SortStableFunc(agents, func(a, b agent) int { return min(len(a.files), 1) - min(len(b.files), 1) })
	var all []string
	for _, a := range agents {
		var paths []string
		for _, file := range a.files {
			at, err := c.placed("ssh", file)
			if err != nil {
				return nil, err
			}
			paths = append(paths, at)
		}
		spec := a.id
		if len(paths) > 0 {
			spec += "=" + strings.Join(paths, ",")
		}
		all = append(all, spec)
	}
	return all, nil
}
