package script

import (
	"fmt"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Lists that exist already can be put into one another in no time and without any memory, so that the governor, which looks
// now and then at what grows, doesn't see it. What recurses over any value therefore looks at it first.

const nestedHint = "a list that is put into itself, or into another one, again and again grows deeper with each round"

func tooDeep() error {
	return failure.New("", "", "%w", exceeded(fmt.Sprintf("values are nested more than %d deep", maxNesting))).WithHint(nestedHint)
}

// canPrint returns an error if one of a builtin's arguments can't be made a text of.
func canPrint(args starlark.Tuple, kwargs []starlark.Tuple) error {
	m := measure{of: printed, depth: map[any]int{}}
	for _, arg := range args {
		if m.exceeds(arg) {
			return tooDeep()
		}
	}
	for _, arg := range kwargs {
		if m.exceeds(arg[1]) {
			return tooDeep()
		}
	}
	if m.endless != nil {
		return failure.New("", "", "a struct holds itself and has no end to print").
			WithHint("print its fields one by one")
	}
	return nil
}

// printing returns a builtin that does what b does with values that can be printed.
func printing(b *starlark.Builtin) *starlark.Builtin {
	return starlark.NewBuiltin(b.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
		kwargs []starlark.Tuple) (starlark.Value, error) {
		if err := canPrint(args, kwargs); err != nil {
			return nil, err
		}
		return b.CallInternal(thread, args, kwargs)
	})
}

// canFreeze returns an error if freezing the globals of a library wouldn't end.
func canFreeze(globals starlark.StringDict) error {
	m := measure{of: frozen, depth: map[any]int{}}
	for _, name := range globals.Keys() { // sorted, so that the error is the same each time
		if m.exceeds(globals[name]) {
			return tooDeep()
		}
	}
	for _, v := range m.endless {
		if f, ok := v.value.(*starlark.Function); ok {
			return failure.New("", "", "%s: function %s refers to itself", f.Position(), f.Name()).
				WithHint("a function can't call itself, not even through others; use a for loop, with a list of what is left to do")
		}
	}
	return nil
}
