package builtins

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
)

// stepMounts returns what the options mount and volume say.
func (c *call) stepMounts() (all []engine.Mount, err error) {
	for _, value := range elements(c.values["mount"]) {
		if text, ok := starlark.AsString(value); ok {
			if value, err = c.parseMount(text); err != nil {
				return nil, err
			}
		}
		mount, err := value.(*mountValue).make(c)
		if err != nil {
			return nil, err
		}
		all = append(all, mount)
	}
	for _, text := range c.texts("volume") {
		volume, err := engine.ParseVolume(text, c.session.options.Dir)
		if err != nil {
			return nil, err
		}
		all = append(all, volume)
	}
	return all, nil
}

// mountVerbs make mounts, by the type that strings of buildah's have for them.
func mountVerbs() map[string]*verb {
	return map[string]*verb{"bind": bindVerb, "cache": cacheVerb, "tmpfs": tmpfsVerb, "secret": secretVerb, "ssh": sshVerb}
}

// mountKeys are the keys of such strings that are spelled in another way here. Of a secret's, env is the step's variable, as in
// a Containerfile.
var mountKeys = map[string]string{
	"src": "source", "dst": "target", "destination": "target", "readonly": "ro", "readwrite": "rw", "from": "from_",
	"bind-propagation": "bind_propagation", "bind-nonrecursive": "bind_nonrecursive", "tmpfs-size": "size", "tmpfs-mode": "mode",
	"secret env": "as_env", "secret src": "src", "ssh src": "src",
}

// parseMount makes the value of a string as buildah's --mount takes it, by calling its constructor.
func (c *call) parseMount(text string) (starlark.Value, error) {
	kind, fields := "bind", strings.Split(text, ",")
	for _, field := range fields {
		if name, ok := strings.CutPrefix(field, "type="); ok {
			kind = name
		}
	}
	v := mountVerbs()[kind]
	if v == nil {
		return nil, c.wrong("mount", "%q: there is no type %q", text, kind).WithHint("types are bind, cache, tmpfs, secret and ssh.")
	}
	made := &call{verb: v, session: c.session, thread: c.thread}
	var kwargs []starlark.Tuple
	for _, field := range fields {
		key, value, valued := strings.Cut(field, "=")
		switch key {
		case "type", "consistency", "cached", "delegated": // the last three are of another system, and buildah skips them
			continue
		case "shared", "rshared", "private", "rprivate", "slave", "rslave":
			key, value, valued = "bind_propagation", key, true
		}
		name := key
		for _, alias := range []string{key, kind + " " + key} {
			if spelled, ok := mountKeys[alias]; ok {
				name = spelled
			}
		}
		p := made.param(name)
		if p == nil || name == "value" {
			return nil, c.wrong("mount", "%q: %s has no option %q", text, kind, key)
		}
		argument, err := c.mountArgument(p, value, valued)
		if err != nil {
			return nil, c.wrong("mount", "%q: option %q %w", text, key, err)
		}
		kwargs = append(kwargs, starlark.Tuple{starlark.String(name), argument})
	}
	has := func(name string) bool {
		return slices.ContainsFunc(kwargs, func(kv starlark.Tuple) bool { return kv[0] == starlark.String(name) })
	}
	// What buildah takes for granted: all of a root, and that a step can do without what nobody provides.
	if kind == "bind" && !has("source") && (has("from_") || c.given("contextdir")) {
		kwargs = append(kwargs, starlark.Tuple{starlark.String("source"), starlark.String("/")})
	} else if (kind == "secret" || kind == "ssh") && !has("src") && !has("required") {
		kwargs = append(kwargs, starlark.Tuple{starlark.String("required"), starlark.Bool(false)})
	}
	if err := made.bind(nil, kwargs); err != nil {
		return nil, failure.New("run: mount:", fmt.Sprintf("%q", text), "%w", err)
	}
	return v.do(made)
}

// mountArgument converts the value of a key.
func (c *call) mountArgument(p *param, text string, given bool) (starlark.Value, error) {
	switch {
	case p.kind.takes(starlark.Bool(true)):
		if !given {
			return starlark.Bool(true), nil
		}
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("is true or false, not %q", text)
		}
		return starlark.Bool(b), nil
	case text == "":
		return nil, fmt.Errorf("needs a value")
	case p.kind.takes(starlark.String("")):
		return starlark.String(text), nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("is a number, not %q", text)
	}
	return starlark.MakeUint64(n), nil
}
