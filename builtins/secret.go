package builtins

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var secretVerb = &verb{
	name:    "secret",
	summary: "describes a secret that a step can read and that nothing keeps",
	doc: `It is for mount of run and build, and for secret of build. The step finds it as a file in memory, or in its environment. rlbuild never shows it: not in
messages or logs, not in the history, not in a process list; and no layer has it unless the step itself writes it there.

The secret is what src, env or value say. With none of them it is, as with buildah, the environment variable called id, or
else the file of that name.`,
	params: slices.Concat([]param{
		{name: "id", kind: aString, required: true, doc: "its name"},
		{name: "target", kind: aString, keyword: true, fallback: `"/run/secrets/ID"`, doc: "where the step finds it; with as_env alone there is no file"},
		{name: "src", kind: aPath, keyword: true, doc: "the host's file that holds it"},
		{name: "env", kind: aString, keyword: true, doc: "the variable of rlbuild's environment that holds it"},
		{name: "value", kind: aString, keyword: true, doc: "the secret itself, from path(…).read() for example; what a host command prints is shown"},
		{name: "as_env", kind: aString, keyword: true, doc: "the variable of its environment that the step finds it in"},
		{name: "required", kind: aBool, keyword: true, fallback: "True", doc: "False runs the step without it when it isn't there"},
	}, ownerParams("0o400")),
	gives: "a mount",
	example: `path("token.txt").write("0f3a-77b1\n", mode = 0o600)
token = secret("token", value = path("token.txt").read().strip())
run(ctr, "test $(cat /run/secrets/token | wc -c) = 9", mount = [token])`,
	more: []string{
		`path("netrc").write("machine example.com password x\n", mode = 0o600)
run(ctr, "cat ~/.netrc > /dev/null", user = "1000", env = {"HOME": "/tmp"}, mount = [
    secret("netrc", src = "netrc", target = "/tmp/.netrc", mode = 0o600, uid = 1000, gid = 1000),
])`,
		`run(ctr, "echo ${KEY:-none}", mount = [secret("key", env = "SIGNING_KEY", as_env = "KEY", required = False)])`,
	},
	pure: true,
	do: func(c *call) (starlark.Value, error) {
		s := engine.SecretMount{ID: c.text("id"), Target: c.text("target"), Variable: c.text("as_env"), Optional: !c.flag("required", true)}
		if s.ID == "" {
			return nil, c.wrong("id", "is empty")
		}
		if strings.ContainsAny(s.ID, "/\x00") && s.Target == "" && s.Variable == "" {
			return nil, c.wrong("id", "%q can't be a file's name", s.ID).WithHint("say where the step finds it: target = …")
		}
		if s.Variable != "" && !shellName(s.Variable) {
			return nil, c.wrong("as_env", "%q can't be a variable's name", s.Variable)
		}
		from := 0
		for _, name := range []string{"src", "env", "value"} {
			if c.given(name) {
				from++
			}
		}
		if from > 1 {
			return nil, c.bad("takes one of src, env and value")
		}
		var err error
		if s.Mode, s.UID, s.GID, err = c.mountOwner(); err != nil {
			return nil, err
		}
		if err := c.secretSource(&s); err != nil {
			return nil, err
		}
		if name := c.text("env"); s.Value == nil && s.File == (engine.Source{}) && !s.Optional {
			return nil, c.wrong("env", "%s is not set in the environment", name).WithHint("set it, or allow it to be missing: required = False")
		}
		return c.mount(func(*call) (engine.Mount, error) { made := s; return &made, nil })
	},
}

// secretSource finds where the secret is.
func (c *call) secretSource(s *engine.SecretMount) (err error) {
	environment := c.session.options.Env
	variable, named := c.text("env"), c.given("env")
	switch {
	case c.given("value"):
		s.Value = []byte(c.text("value"))
		return nil
	case c.given("src"):
		s.File, err = c.sourceOf(c.values["src"])
		return err
	case !named:
		variable = s.ID
	}
	if text, set := environment[variable]; set {
		s.Value = []byte(text)
	} else if !named {
		s.File, err = c.sourceOf(starlark.String(s.ID))
	}
	return err
}

// shellName tells whether a variable can be set by a shell.
func shellName(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
