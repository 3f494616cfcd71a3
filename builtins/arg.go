package builtins

import (
	"math/big"
	"strconv"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/script"
)

var argVerb = &verb{
	name:    "arg",
	summary: "takes a value from the command line, NAME=VALUE",
	doc: `The default's type is the value's: a whole number, a float, True or False (also yes, no, 1, 0), a list (of strings,
separated by commas), else a string. Without a default the argument must be given. rlbuild SCRIPT --help lists a
script's arguments, so the name is a literal string. Libraries have none: a script hands values to their functions.`,
	params: []param{
		{name: "name", kind: aString, required: true, doc: "the argument's name"},
		{name: "default", kind: anything, keyword: true, doc: "its value when it isn't given; None is a string that may be missing"},
		{name: "help", kind: aString, keyword: true, doc: "what it is for, for --help"},
	},
	gives: "the value",
	example: `release = arg("release", default = "bookworm", help = "Debian release to install")
jobs = arg("jobs", default = 2)`,
	do: func(c *call) (starlark.Value, error) {
		if file := script.Caller(c.thread).Filename(); file != c.session.options.Script {
			return nil, c.bad("was called in a library").
				WithHint("take the value in the script, and hand it to the library's function as a parameter.")
		}
		name := c.text("name")
		fallback, optional := c.values["default"]
		text, given := c.session.options.Args[name]
		if !given {
			if !optional {
				return nil, failure.New("argument", name, "was not given, and has no default").WithKind(failure.Usage).
					WithHint("give it behind the script: %s=…", name)
			}
			return fallback, nil
		}
		value, err := convert(text, fallback)
		if err != nil {
			return nil, failure.New("argument", name, "%q is not %s", text, err).WithKind(failure.Usage).
				WithHint("rlbuild %s --help lists the arguments.", c.session.options.Script)
		}
		return value, nil
	},
}

// notA is what a text should have been: "a whole number".
type notA string

func (n notA) Error() string { return string(n) }

// convert returns text as a value of the default's type.
func convert(text string, like starlark.Value) (starlark.Value, error) {
	switch like.(type) {
	case starlark.Bool:
		switch strings.ToLower(text) {
		case "true", "yes", "on", "1":
			return starlark.True, nil
		case "false", "no", "off", "0":
			return starlark.False, nil
		}
		return nil, notA("true or false")
	case starlark.Int:
		n, ok := new(big.Int).SetString(text, 0)
		if !ok {
			return nil, notA("a whole number")
		}
		return starlark.MakeBigInt(n), nil
	case starlark.Float:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, notA("a number")
		}
		return starlark.Float(f), nil
	case *starlark.List, starlark.Tuple:
		var items []starlark.Value
		for _, item := range strings.Split(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, starlark.String(item))
			}
		}
		return starlark.NewList(items), nil
	}
	return starlark.String(text), nil
}
