package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var sshVerb = &verb{
	name:    "ssh",
	summary: "describes an ssh agent that a step can have things signed by, without seeing the keys",
	doc: `It is for mount of run and build, and for ssh of build. SSH_AUTH_SOCK of the step names the first one. The keys are those of the agent that rlbuild's own
SSH_AUTH_SOCK names, of the agent whose socket src is, or of files.`,
	params: slices.Concat([]param{
		{name: "id", kind: aString, fallback: `"default"`, doc: "its name"},
		{name: "target", kind: aString, keyword: true, fallback: `"/run/buildkit/ssh_agent.0"`, doc: "where the step finds the socket"},
		{name: "src", kind: paths, keyword: true, doc: "an agent's socket, or files with private keys that have no passphrase; the agent of SSH_AUTH_SOCK"},
		{name: "required", kind: aBool, keyword: true, fallback: "True", doc: "False runs the step without it when there is no agent and no src"},
	}, ownerParams("0o600")),
	gives:   "a mount",
	example: `run(ctr, "echo ${SSH_AUTH_SOCK:-no agent}", mount = [ssh(required = False)])`,
	more: []string{
		`host(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path("deploy-key")])
run(ctr, "test -S /run/agent", user = "1000", mount = [
    ssh("deploy", src = ["deploy-key"], target = "/run/agent", mode = 0o600, uid = 1000, gid = 1000),
])`,
	},
	pure: true,
	do: func(c *call) (starlark.Value, error) {
		s := engine.SSHMount{ID: c.text("id"), Target: c.text("target")}
		if !c.given("id") {
			s.ID = "default"
		}
		var err error
		if s.Mode, s.UID, s.GID, err = c.mountOwner(); err != nil {
			return nil, err
		}
		for _, v := range oneOrMore(c.values["src"]) {
			source, err := c.sourceOf(v)
			if err != nil {
				return nil, err
			}
			s.Sources = append(s.Sources, source)
		}
		if !c.given("src") {
			if socket := c.session.options.Env["SSH_AUTH_SOCK"]; socket != "" {
				s.Sources = []engine.Source{{Root: "/", Path: socket}}
			} else if c.flag("required", true) {
				return nil, c.bad("there is no agent: SSH_AUTH_SOCK is not set").
					WithHint("start one (eval $(ssh-agent); ssh-add), name key files with src, or allow it to be missing: required = False")
			}
		}
		return c.mount(func(*call) (engine.Mount, error) { made := s; return &made, nil })
	},
}
