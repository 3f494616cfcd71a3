package builtins

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"
)

// fetched tells whether buildah fetches what goes by that name, instead of finding it on the host.
func fetched(text string) bool {
	return strings.Contains(text, "://") || strings.HasPrefix(text, "github.com/") || text == "-"
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
