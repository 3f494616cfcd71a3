package builtins

import "go.starlark.net/starlark"

var envVerb = &verb{
	name:    "env",
	summary: "reads an environment variable of the host",
	params: []param{
		{name: "name", kind: aString, required: true, doc: "the variable's name"},
		{name: "default", kind: anything, keyword: true, doc: "the value when it isn't set; without one that is an error"},
	},
	gives:   "a string, or the default",
	example: `print(env("LANG", default = "C"))`,
	pure:    true,
	do: func(c *call) (starlark.Value, error) {
		if value, set := c.session.options.Env[c.text("name")]; set {
			return starlark.String(value), nil
		}
		if fallback, ok := c.values["default"]; ok {
			return fallback, nil
		}
		return nil, c.bad("%s is not set in the environment", c.text("name")).
			WithHint("set it, or give env a default: env(%q, default = ...)", c.text("name"))
	},
}
