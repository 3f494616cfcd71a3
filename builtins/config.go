package builtins

import (
	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// configVerb has a parameter for each of the engine's settings.
func configVerb() *verb {
	v := &verb{
		name:    "config",
		summary: "changes the configuration of the image that a container will become",
		doc: `Only what is named changes. None unsets a setting, and a key in a dict. Items of a list are added. A command given as
a string runs in /bin/sh -c. An entry point clears the command, so name both.`,
		params: []param{ctrParam},
		example: `config(ctr, entrypoint = ["nginx", "-g", "daemon off;"], port = ["80/tcp"], env = {"LANG": "C.UTF-8"},
    label = {"stage": "test", "obsolete": None}, workingdir = "/srv", user = "root")
config(ctr, user = None)`,
		do: doConfig,
	}
	for _, s := range engine.Settings() {
		v.params = append(v.params, param{name: s.Name, kind: settingKind(s.Form), keyword: true, doc: s.Doc})
	}
	return v
}

func doConfig(c *call) (starlark.Value, error) {
	values := map[string]any{}
	for _, s := range engine.Settings() {
		v, given := c.values[s.Name]
		switch {
		case !given:
		case v == starlark.None:
			values[s.Name] = nil
		case s.Form == engine.Text:
			values[s.Name] = c.text(s.Name)
		case s.Form == engine.Command && isString(v):
			values[s.Name] = []string{"/bin/sh", "-c", c.text(s.Name)}
		case s.Form == engine.Pairs:
			values[s.Name] = pairsOf(v.(*starlark.Dict))
		default:
			values[s.Name] = c.stringList(s.Name)
		}
	}
	return nil, c.container().Configure(values)
}

func pairsOf(dict *starlark.Dict) map[string]*string {
	pairs := make(map[string]*string, dict.Len())
	for _, item := range dict.Items() {
		key, _ := starlark.AsString(item[0])
		pairs[key] = nil
		if value, ok := starlark.AsString(item[1]); ok {
			pairs[key] = &value
		}
	}
	return pairs
}
