package builtins

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// processParams are the options of a command that it has wherever it runs.
var processParams = []param{
	{name: "stdin", kind: anInput, keyword: true,
		doc: "what it reads on its standard input: the text or bytes itself, or a path for the content of that file; nothing"},
	{name: "terminal", kind: aBool, keyword: true, fallback: "False",
		doc: "give it a pseudo-terminal: both streams are in .stdout, and you can type at your own unless stdin is given"},
	{name: "timeout", kind: aDuration, keyword: true,
		doc: "the most it may take: then it and what it started is ended, and its code is 124"},
	{name: "valid_exit_codes", kind: kind{"a list of whole numbers", listOf(is[starlark.Int])}, keyword: true, fallback: "[0]",
		doc: "the exit statuses that mean success"},
}

var anInput = kind{"a string, bytes or a path", either(isString, is[starlark.Bytes], is[*pathValue])}

// process returns the command and what cmdParam, envParam and those options say. Call done when it has ended.
func (c *call) process() (p engine.Process, done func(), err error) {
	done = func() {}
	if p.Env, err = c.lines("env"); err != nil {
		return p, done, err
	}
	if p.Args, p.Shell, err = c.command(); err != nil {
		return p, done, err
	}
	p.Terminal = c.flag("terminal", false)
	if c.given("timeout") {
		if p.Timeout, err = c.duration("timeout"); err != nil {
			return p, done, err
		}
		if p.Timeout < time.Millisecond {
			return p, done, c.wrong("timeout", "got %s, want more than that; leave it out for no limit", c.values["timeout"])
		}
	}
	for _, value := range elements(c.values["valid_exit_codes"]) {
		code, err := starlark.AsInt32(value)
		if err != nil || code < 0 || code > 255 {
			return p, done, c.wrong("valid_exit_codes", "got %s, want numbers from 0 to 255", value)
		}
		p.ValidExitCodes = append(p.ValidExitCodes, code)
	}
	switch input := c.values["stdin"].(type) {
	case starlark.String:
		p.Stdin = &engine.Input{Text: string(input)}
	case starlark.Bytes:
		p.Stdin = &engine.Input{Text: string(input)}
	case *pathValue:
		file, err := c.openInput(input)
		if err != nil {
			return p, done, err
		}
		p.Stdin, done = &engine.Input{File: file}, func() { file.Close() }
	}
	return p, done, nil
}

// openInput opens a file in the tree it is in.
func (c *call) openInput(p *pathValue) (*os.File, error) {
	files, err := p.files()
	if err != nil {
		return nil, err
	}
	file, err := files.OpenFile(p.name)
	if err != nil {
		if e := engine.ExplainPath(c.verb.name+": stdin:", p.host(), p.container == nil, err); e.Hint != "" {
			return nil, e
		}
		e := c.wrong("stdin", "%w", err)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, e.WithHint("a path means the content of a file; text is given as a string.")
		}
		return nil, e
	}
	return file, nil
}
