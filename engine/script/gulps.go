package script

import (
	"errors"
	"maps"
	"math/bits"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A single operation can want any amount of memory at once: [0] * 1000000000 and list(range(1 << 40)) make lists in one
// piece, "a".replace a string. By the time anything could stop it, the machine would be busy with nothing else, or Go out of
// memory, which no program survives. So these ask for room before they start; what grows bit by bit is seen growing.

// soberNames are the builtins that stand for operators. No script can write them, nor ".replace" and its like, which stand for
// methods.
var soberNames = map[syntax.Token]string{
	syntax.STAR: "*", syntax.STAR_EQ: "*", syntax.PERCENT: "%", syntax.PERCENT_EQ: "%",
}

// hungry are the methods of strings that ask for room, and how much of it: how many pieces of how many bytes.
var hungry = map[string]func(text string, args starlark.Tuple) (n, size uint64){
	"replace": func(text string, args starlark.Tuple) (n, size uint64) {
		if len(args) < 2 {
			return 0, 0
		}
		old, ok := args[0].(starlark.String)
		with, isText := args[1].(starlark.String)
		if !ok || !isText || len(with) <= len(old) {
			return 0, 0
		}
		return uint64(strings.Count(text, string(old))), uint64(len(with) - len(old))
	},
	"split":  pieces,
	"rsplit": pieces,
	"splitlines": func(text string, _ starlark.Tuple) (n, size uint64) {
		return uint64(strings.Count(text, "\n")) + 1, stringSize
	},
	"format": func(string, starlark.Tuple) (n, size uint64) { return 0, 0 }, // what it prints is looked at
}

// pieces is what split and rsplit make of a text.
func pieces(text string, args starlark.Tuple) (n, size uint64) {
	if len(args) > 0 && args[0] != starlark.None {
		sep, _ := args[0].(starlark.String)
		n = uint64(strings.Count(text, string(sep))) + 1
	} else {
		for range strings.FieldsSeq(text) {
			n++
		}
	}
	if len(args) > 1 {
		if most, ok := args[1].(starlark.Int); ok {
			if most, fits := most.Uint64(); fits {
				n = min(n, most+1)
			}
		}
	}
	return n, stringSize
}

// elementSize is what a list or a tuple takes for an element, in bytes.
const elementSize = 16

// stringSize is what a string in a list takes that shares its text with another one.
const stringSize = 3 * elementSize

// room returns an error if n times size bytes more are over the memory limit of the thread's run.
func room(thread *starlark.Thread, n, size uint64) error {
	s := stateOf(thread)
	if s == nil || s.governor.limits.Memory == 0 {
		return nil
	}
	limit := s.governor.limits.Memory
	over, bytes := bits.Mul64(n, size)
	if over == 0 && bytes < 1<<20 {
		return nil // asking what is held costs more than that
	}
	if over != 0 || bytes > limit || bytes > limit-min(limit, sample(heapHeld)) {
		return s.governor.overLimit()
	}
	return nil
}

type builtinFunc = func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error)

// gulpers returns builtins that ask for room, by name: those of Starlark that make a list of something whose length they
// know, those that print values, and what sober puts into scripts.
func gulpers() starlark.StringDict {
	all := starlark.StringDict{
		soberNames[syntax.STAR]:    starlark.NewBuiltin("*", repeat),
		soberNames[syntax.PERCENT]: starlark.NewBuiltin("%", interpolate),
	}
	for name := range hungry {
		all["."+name] = method(name)
	}
	for name, size := range map[string]uint64{"list": elementSize, "tuple": elementSize, "sorted": 2 * elementSize,
		"reversed": elementSize, "enumerate": 4 * elementSize, "zip": 4 * elementSize, "bytes": 1} {
		inner := starlark.Universe[name].(*starlark.Builtin)
		all[name] = starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
			kwargs []starlark.Tuple) (starlark.Value, error) {
			for _, arg := range args {
				if n := starlark.Len(arg); n > 0 {
					if err := room(thread, uint64(n), size); err != nil {
						return nil, err
					}
				}
			}
			return inner.CallInternal(thread, args, kwargs)
		})
	}
	for _, name := range []string{"str", "repr", "print", "fail"} {
		all[name] = printing(starlark.Universe[name].(*starlark.Builtin))
	}
	attribute := starlark.Universe["getattr"].(*starlark.Builtin)
	all["getattr"] = starlark.NewBuiltin("getattr", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		value, err := attribute.CallInternal(thread, args, kwargs)
		return sobered(value), err
	})
	return all
}

// repeat is the operator *.
func repeat(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	x, y := args[0], args[1]
	for _, pair := range [][2]starlark.Value{{x, y}, {y, x}} {
		n, isInt := pair[1].(starlark.Int)
		length := starlark.Len(pair[0])
		times, fits := n.Uint64()
		if !isInt || !fits || length <= 0 {
			continue // Starlark itself refuses what is larger
		}
		size := uint64(elementSize)
		switch pair[0].(type) {
		case starlark.String, starlark.Bytes:
			size = 1
		}
		over, elements := bits.Mul64(uint64(length), times)
		if over != 0 || elements >= 1<<30 {
			continue // likewise
		}
		if err := room(thread, elements, size); err != nil {
			return nil, err
		}
	}
	return starlark.Binary(syntax.STAR, x, y)
}

// interpolate is the operator %.
func interpolate(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if _, ok := args[0].(starlark.String); ok {
		if err := canPrint(args[1:], nil); err != nil {
			return nil, err
		}
	}
	return starlark.Binary(syntax.PERCENT, args[0], args[1])
}

// method returns the builtin that stands for x.name.
func method(name string) *starlark.Builtin {
	attribute := starlark.Universe["getattr"].(*starlark.Builtin)
	return starlark.NewBuiltin("."+name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
		_ []starlark.Tuple) (starlark.Value, error) {
		value, err := attribute.CallInternal(thread, starlark.Tuple{args[0], starlark.String(name)}, nil)
		if err != nil {
			return nil, errors.New(strings.TrimPrefix(err.Error(), "getattr: ")) // as the interpreter says it
		}
		return sobered(value), nil
	})
}

// sobered returns a value, or a method that asks for room first if it is a string's that may take much.
func sobered(value starlark.Value) starlark.Value {
	method, ok := value.(*starlark.Builtin)
	if !ok || hungry[method.Name()] == nil {
		return value
	}
	text, ok := method.Receiver().(starlark.String)
	if !ok {
		return value
	}
	return starlark.NewBuiltin(method.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		n, size := hungry[method.Name()](string(text), args)
		if err := room(thread, n, size); err != nil {
			return nil, err
		}
		if method.Name() == "format" {
			if err := canPrint(args, kwargs); err != nil {
				return nil, err
			}
		}
		return method.CallInternal(thread, args, kwargs)
	}).BindReceiver(text)
}

// withGulpers returns the builtins that ask for room, and over them those of predeclared.
func withGulpers(predeclared starlark.StringDict) starlark.StringDict {
	all := gulpers()
	maps.Copy(all, predeclared)
	return all
}
