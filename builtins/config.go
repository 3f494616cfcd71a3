package builtins

import (
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// configVerb has a parameter for each of the engine's settings.
func configVerb() *verb {
	v := &verb{
		name:    "config",
		summary: "changes the configuration of the image that a container will become",
		doc: `Only what is named changes. None unsets a setting, and a key in a dict. Items of a list are added; one that ends in
"-" is taken out again, and "-" alone takes out all there are. A dict of such items says the same with True and None:
port = {"80/tcp": True, "443/tcp": None}. Items are done in their order.

An entry point leaves the command as it is, and that becomes its arguments: name both. Health checks, triggers (onbuild), shell,
comment, host and domain name exist only in docker's image format, annotations only in OCI's: a commit in the other one says
what it leaves out. With add_history the image's history names what has an instruction in Containerfiles.`,
		params: []param{ctrParam},
		example: `config(ctr, entrypoint = ["nginx", "-g", "daemon off;"], cmd = None, port = ["80/tcp"], env = {"LANG": "C.UTF-8"},
    label = {"stage": "test", "obsolete": None}, workingdir = "/srv", user = "app:app", volume = ["/data"], stop_signal = "SIGQUIT")
config(ctr, user = None, port = {"80/tcp": None, "443/tcp": True}, volume = ["/data-"])`,
		more: []string{
			`config(ctr, healthcheck = ["CMD", "wget", "-q", "http://localhost/"], healthcheck_interval = "1m", healthcheck_timeout = 5,
    healthcheck_retries = 2, healthcheck_start_period = "10s", healthcheck_start_interval = "1s",
    onbuild = ["COPY . /src"], shell = ["/bin/sh", "-ec"], hostname = "web", domainname = "example.net", comment = "a test")
commit(ctr, "localhost/example-docker", format = "docker")`,
			`config(ctr, author = "Jane", created_by = "my script", history_comment = "first try", add_history = True,
    os = "linux", arch = "arm64", variant = "v8", os_version = "1", os_feature = ["one", "two"],
    annotation = {"org.opencontainers.image.title": "example"}, label = {"a": "b"})
config(ctr, unsetlabel = ["a"], unsetannotation = ["org.opencontainers.image.title"])`,
		},
		do: doConfig,
	}
	for _, s := range engine.Settings() {
		v.params = append(v.params, param{name: s.Name, kind: settingKind(s.Form), keyword: true, doc: s.Doc})
	}
	v.params = append(v.params, historyParam)
	return v
}

func doConfig(c *call) (starlark.Value, error) {
	values := map[string]any{}
	for _, s := range engine.Settings() {
		v, given := c.values[s.Name]
		if !given {
			continue
		}
		value, err := c.setting(s, v)
		if err != nil {
			return nil, err
		}
		values[s.Name] = value
	}
	return nil, c.container().Configure(values, c.history())
}

// setting returns a value in the form that the setting takes.
func (c *call) setting(s engine.Setting, v starlark.Value) (any, error) {
	if v == starlark.None {
		return nil, nil
	}
	switch s.Form {
	case engine.Set:
		if dict, ok := v.(*starlark.Dict); ok {
			return itemsOf(dict), nil
		}
		return listed(c.stringList(s.Name)), nil
	case engine.Pairs:
		return itemsOf(v.(*starlark.Dict)), nil
	case engine.Duration:
		d, err := c.duration(s.Name)
		if text, ok := starlark.AsString(v); ok {
			return text, err
		}
		return d.String(), err
	case engine.Number:
		return c.count(s.Name)
	}
	if isString(v) {
		return c.text(s.Name), nil
	}
	return c.stringList(s.Name), nil
}

// itemsOf returns a dict's items; None has no value.
func itemsOf(dict *starlark.Dict) []engine.Item {
	var items []engine.Item
	for _, item := range dict.Items() {
		key, _ := starlark.AsString(item[0])
		one := engine.Item{Key: key}
		if item[1] != starlark.None {
			value, _ := starlark.AsString(item[1])
			one.Value = &value
		}
		items = append(items, one)
	}
	return items
}

// listed returns the items of a list, in which buildah's "ITEM-" takes one out, and "-" all.
func listed(list []string) []engine.Item {
	var items []engine.Item
	for _, text := range list {
		key, out := strings.CutSuffix(text, "-")
		switch {
		case text == "-":
			items = append(items, engine.Item{Key: engine.All})
		case out:
			items = append(items, engine.Item{Key: key})
		default:
			items = append(items, engine.Item{Key: key, Value: new("")})
		}
	}
	return items
}
