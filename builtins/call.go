package builtins

import (
	"context"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/script"
)

// verb is one builtin, or one method of a value: all that help says about it, and what it does.
type verb struct {
	name    string
	summary string   // what it does, a sentence without subject or full stop
	doc     string   // what else there is to know; paragraphs are separated by an empty line
	params  []param  // positional ones first
	gives   string   // what it returns; "" for nothing
	example string   // a script that runs, "ctr" being a container with a shell in it
	more    []string // further examples, each a script of its own: every option is in one of them
	pure    bool     // has no effect, and so may be called while a library loads
	do      func(c *call) (starlark.Value, error)
}

// param is one parameter.
type param struct {
	name     string
	kind     kind
	required bool
	keyword  bool   // can't be given by position
	many     bool   // takes all positional arguments that are left; the last positional parameter only
	fallback string // the default, as help shows it; "" for none
	doc      string
}

// kind is what values a parameter takes.
type kind struct {
	want  string // for messages and help: "a string"
	takes func(starlark.Value) bool
}

// call is one call of a verb, its arguments bound to parameters and checked against their kinds.
type call struct {
	verb     *verb
	session  *Session
	thread   *starlark.Thread
	receiver starlark.Value // of a method
	values   map[string]starlark.Value
	rest     starlark.Tuple // what the parameter that takes many got
}

func (c *call) ctx() context.Context { return script.Context(c.thread) }

// bad returns an error about the call.
func (c *call) bad(format string, args ...any) *failure.Error {
	return failure.New("", c.verb.name, format, args...)
}

// wrong returns an error about one argument.
func (c *call) wrong(param, format string, args ...any) *failure.Error {
	return failure.New(c.verb.name+":", param, format, args...)
}

// bind assigns arguments to parameters.
func (c *call) bind(args starlark.Tuple, kwargs []starlark.Tuple) error {
	c.values = map[string]starlark.Value{}
	params := c.verb.params
	for i, arg := range args {
		if i >= len(params) || params[i].keyword {
			e := c.bad("got %d arguments by position, takes at most %d", len(args), i)
			if i < len(params) { // without the argument, which may be a secret, or of any length
				e.Hint = fmt.Sprintf("options are given by name: %s = …", params[i].name)
			}
			return e
		}
		if params[i].many {
			c.rest = args[i:]
			break
		}
		if err := c.assign(&params[i], arg); err != nil {
			return err
		}
	}
	for _, kv := range kwargs {
		name := string(kv[0].(starlark.String))
		p := c.param(name)
		if p == nil {
			return c.unknown(name)
		}
		if _, twice := c.values[name]; twice {
			return c.wrong(name, "was given twice")
		}
		if err := c.assign(p, kv[1]); err != nil {
			return err
		}
	}
	for i := range params {
		p := &params[i]
		if _, given := c.values[p.name]; p.required && !given && !(p.many && len(c.rest) > 0) {
			return c.bad("lacks %s", p.name).WithHint("%s: %s.", p.name, p.doc)
		}
		for _, arg := range c.rest {
			if p.many && !p.kind.takes(arg) {
				return c.mismatch(p, arg)
			}
		}
	}
	return nil
}

// assign checks the value and binds it. None counts as not given where the kind doesn't take it.
func (c *call) assign(p *param, value starlark.Value) error {
	if p.kind.takes(value) {
		c.values[p.name] = value
		return nil
	}
	if value == starlark.None && !p.required {
		return nil
	}
	return c.mismatch(p, value)
}

func (c *call) mismatch(p *param, value starlark.Value) error {
	return c.wrong(p.name, "got %s, want %s", describe(value), p.kind.want)
}

// describe names a value's type, and for lists the type of the element that is usually to blame.
func describe(value starlark.Value) string {
	if list, ok := value.(*starlark.List); ok {
		for i := range list.Len() {
			if _, ok := list.Index(i).(starlark.String); !ok {
				return fmt.Sprintf("a list with %s at index %d", list.Index(i).Type(), i)
			}
		}
	}
	if dict, ok := value.(*starlark.Dict); ok {
		for _, item := range dict.Items() {
			if _, ok := item[0].(starlark.String); !ok {
				return fmt.Sprintf("a dict with the key %s", item[0])
			}
			if _, ok := item[1].(starlark.String); !ok && item[1] != starlark.None {
				return fmt.Sprintf("a dict with %s for %s", item[1].Type(), item[0])
			}
		}
	}
	return value.Type()
}

func (c *call) param(name string) *param {
	for i := range c.verb.params {
		if p := &c.verb.params[i]; p.name == name && !p.many {
			return p
		}
	}
	return nil
}

func (c *call) unknown(name string) error {
	var names []string
	for _, p := range c.verb.params {
		names = append(names, p.name)
	}
	e := c.bad("has no parameter %q", name)
	if near := script.Nearest(name, names); near != "" {
		return e.WithHint("did you mean %s?", near)
	}
	return e.WithHint("rlbuild help %s lists what it takes.", c.verb.name)
}

// given reports whether the parameter has a value.
func (c *call) given(name string) bool {
	_, ok := c.values[name]
	return ok
}

// text returns a string argument, "" if it wasn't given.
func (c *call) text(name string) string {
	s, _ := starlark.AsString(c.values[name])
	return s
}

// flag returns a bool argument, or the default.
func (c *call) flag(name string, fallback bool) bool {
	if said := c.choice(name); said != nil {
		return *said
	}
	return fallback
}

// choice returns a bool argument, or nil.
func (c *call) choice(name string) *bool {
	if b, ok := c.values[name].(starlark.Bool); ok {
		return new(bool(b))
	}
	return nil
}
