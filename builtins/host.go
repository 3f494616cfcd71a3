package builtins

import (
	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var hostVerb = &verb{
	name:    "host",
	summary: "runs a command of the host inside the namespace",
	doc: `There the command is root over your sub-IDs and sees the mounts, so that it can fill one: dnf --installroot,
mmdebstrap, make install DESTDIR=. A string is a line for /bin/sh. Output is shown and kept as with run. What the command
leaves running in the background ends with the script.`,
	params: []param{cmdParam,
		{name: "cwd", kind: aPath, keyword: true, doc: `where the command starts; the script's directory, for "-" and "-c" the current one`},
		envParam, checkParam,
	},
	gives: resultDoc,
	example: `root = mount(ctr)
host(["cp", "/etc/os-release", root / "etc/host-release"])
print(host("id -u").stdout.strip())`,
	do: func(c *call) (starlark.Value, error) {
		env, err := c.environment("env")
		if err != nil {
			return nil, err
		}
		argv, line, err := c.command()
		if err != nil {
			return nil, err
		}
		o := engine.HostOptions{Args: argv, Shell: line, Env: env, Dir: c.hostPath("cwd")}
		result, err := c.session.engine.Host(c.ctx(), o)
		return c.finished(result, err)
	},
}
