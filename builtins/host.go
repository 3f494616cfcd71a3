package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var hostVerb = &verb{
	name:    "host",
	summary: "runs a command of the host inside the namespace",
	doc: `There the command is root over your sub-IDs and sees the mounts, so that it can fill one: dnf --installroot,
mmdebstrap, make install DESTDIR=. A string is a line for /bin/sh. Output is shown and kept as with run. What the command
leaves running in the background ends with the script.`,
	params: slices.Concat([]param{cmdParam,
		{name: "cwd", kind: aPath, keyword: true, doc: `where the command starts; the script's directory, for "-" and "-c" the current one`},
		envParam, checkParam,
	}, processParams),
	gives: resultDoc,
	example: `root = mount(ctr)
host(["cp", "/etc/os-release", root / "etc/host-release"])
print(host("id -u").stdout.strip())`,
	more: []string{
		`root = mount(ctr)
host("gzip -c > $ROOT/passwd.gz", stdin = root / "etc/passwd", env = {"ROOT": str(root)}, timeout = "30s")`,
		`if not host(["test", "-e", "Makefile"], cwd = "/tmp", check = False):
    print("nothing to make")`,
		`differs = host(["cmp", "-s", "/etc/passwd", "/etc/group"], valid_exit_codes = [0, 1]).code
print(differs, host(["tty"], terminal = True).stdout)`,
	},
	do: func(c *call) (starlark.Value, error) {
		process, done, err := c.process()
		if err != nil {
			return nil, err
		}
		defer done()
		o := engine.HostOptions{Process: process}
		if c.given("cwd") {
			o.Dir = c.place(c.values["cwd"]).host() // with links as the host follows them, as for all that the command does
		}
		result, err := c.session.engine.Host(c.ctx(), o)
		return c.finished(result, err)
	},
}
