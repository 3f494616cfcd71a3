package builtins

import (
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// buildSecrets returns what the parameter secret says.
func (c *call) buildSecrets() (all []*engine.SecretMount, err error) {
	for _, value := range oneOrMore(c.values["secret"]) {
		made, err := c.provided(value, secretVerb, c.secretOptions)
		if err != nil {
			return nil, err
		}
		s, ok := made.(*engine.SecretMount)
		if !ok {
			return nil, c.wrong("secret", "got %s, want secret(…)", value)
		}
		if s.Target != "" || s.Variable != "" || s.Mode != nil || s.UID != 0 || s.GID != 0 {
			return nil, c.placedByRun("secret", value)
		}
		all = append(all, s)
	}
	return all, nil
}

// buildSSH returns what the parameter ssh says.
func (c *call) buildSSH() (all []*engine.SSHMount, err error) {
	for _, value := range oneOrMore(c.values["ssh"]) {
		made, err := c.provided(value, sshVerb, c.agentOptions)
		if err != nil {
			return nil, err
		}
		s, ok := made.(*engine.SSHMount)
		if !ok {
			return nil, c.wrong("ssh", "got %s, want ssh(…)", value)
		}
		if s.Target != "" || s.Mode != nil || s.UID != 0 || s.GID != 0 {
			return nil, c.placedByRun("ssh", value)
		}
		all = append(all, s)
	}
	return all, nil
}

// placedByRun refuses options about where a step finds something that the steps' own --mount asks for.
func (c *call) placedByRun(name string, value starlark.Value) error {
	return c.wrong(name, "%s: where it is and whose is for RUN --mount=type=%s,id=… to say", value, name).
		WithHint("or have every RUN find it: mount = [%s]", value)
}

// buildMounts returns what the parameter mount says.
func (c *call) buildMounts() (all []engine.BuildMount, err error) {
	for _, value := range oneOrMore(c.values["mount"]) {
		if text, ok := starlark.AsString(value); ok {
			all = append(all, engine.BuildMount{Text: text})
			continue
		}
		mount, err := value.(*mountValue).make(c)
		if err != nil {
			return nil, err
		}
		all = append(all, engine.BuildMount{Mount: mount})
	}
	return all, nil
}

// provided returns the mount that a value is, or that a constructor makes of the options in a string.
func (c *call) provided(value starlark.Value, v *verb, options func(text string) ([]starlark.Tuple, error)) (engine.Mount, error) {
	if text, ok := starlark.AsString(value); ok {
		kwargs, err := options(text)
		if err != nil {
			return nil, err
		}
		made := &call{verb: v, session: c.session, thread: c.thread}
		if err := made.bind(nil, kwargs); err != nil {
			return nil, err
		}
		if value, err = v.do(made); err != nil {
			return nil, err
		}
	}
	return value.(*mountValue).make(c)
}

// secretOptions are those of secret for "id=ID[,src=PATH][,env=NAME][,type=file|env]", as buildah's --secret takes it.
func (c *call) secretOptions(text string) ([]starlark.Tuple, error) {
	fields := map[string]string{}
	for field := range strings.SplitSeq(text, ",") {
		key, value, found := strings.Cut(field, "=")
		if !found || key != "id" && key != "src" && key != "env" && key != "type" || key == "type" && value != "file" && value != "env" {
			// What was given may hold a secret, and doesn't belong into a message.
			return nil, c.wrong("secret", `is not "id=ID,src=PATH" or "id=ID,env=NAME"`)
		}
		fields[key] = value
	}
	if fields["id"] == "" {
		return nil, c.wrong("secret", "lacks its id")
	}
	source, at := "src", fields["src"]
	if fields["env"] != "" {
		source, at = "env", fields["env"]
	} else if fields["type"] == "env" {
		source = "env"
	}
	if at == "" && fields["type"] != "" {
		at = fields["id"]
	}
	kwargs := []starlark.Tuple{{starlark.String("id"), starlark.String(fields["id"])}}
	if at != "" {
		kwargs = append(kwargs, starlark.Tuple{starlark.String(source), starlark.String(at)})
	}
	return kwargs, nil
}

// agentOptions are those of ssh for "ID", "ID=SOCKET" or "ID=KEY,…", as buildah's --ssh takes it.
func (c *call) agentOptions(text string) ([]starlark.Tuple, error) {
	id, files, given := strings.Cut(text, "=")
	kwargs := []starlark.Tuple{{starlark.String("id"), starlark.String(id)}}
	if given {
		var paths []starlark.Value
		for file := range strings.SplitSeq(files, ",") {
			paths = append(paths, starlark.String(file))
		}
		kwargs = append(kwargs, starlark.Tuple{starlark.String("src"), starlark.NewList(paths)})
	}
	return kwargs, nil
}
