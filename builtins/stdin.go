package builtins

import (
	"io"

	"go.starlark.net/starlark"
)

var stdinVerb = &verb{
	name:    "stdin",
	summary: "reads standard input to its end",
	doc:     `A script that comes from standard input itself ("-") has none.`,
	gives:   "a string",
	example: `(mount(ctr) / "etc/motd").write(stdin())`,
	do: func(c *call) (starlark.Value, error) {
		input := c.session.options.Input
		if input == nil {
			return nil, c.bad("has nothing to read: the script came from there").WithHint("name the script, or use -c.")
		}
		text, err := io.ReadAll(io.LimitReader(input, readLimit+1))
		if err != nil {
			return nil, c.bad("%w", err)
		}
		if len(text) > readLimit {
			return nil, c.bad("is longer than %d MiB", readLimit>>20).WithHint("put it into a file, or let a command read it.")
		}
		return starlark.String(text), nil
	},
}
