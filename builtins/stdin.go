package builtins

import (
	"context"
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
		text, err := readToEnd(c.ctx(), io.LimitReader(input, readLimit+1))
		if err != nil {
			return nil, c.bad("%w", err)
		}
		if len(text) > readLimit {
			return nil, c.bad("is longer than %d MiB", readLimit>>20).WithHint("put it into a file, or let a command read it.")
		}
		return starlark.String(text), nil
	},
}

// readToEnd reads everything, unless ctx ends first: a terminal or a pipe may have nothing to say for hours, and nothing
// interrupts a read of those. What is left to read on then ends with the process.
func readToEnd(ctx context.Context, from io.Reader) ([]byte, error) {
	type read struct {
		text []byte
		err  error
	}
	done := make(chan read, 1)
	go func() {
		text, err := io.ReadAll(from)
		done <- read{text, err}
	}()
	select {
	case all := <-done:
		return all.text, all.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
