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
	if m.endless {
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

// tooManyVisits is how many times freezing may come to a value: it takes a second or so, and no step of the interpreter. What
// holds the same tuple or function twice, and is itself held twice, and so on, freezes it that many times over.
const tooManyVisits = 100_000_000

// canFreeze returns an error if freezing the globals of a library wouldn't end, or not in time.
func canFreeze(globals starlark.StringDict) error {
	m := measure{of: frozen, depth: map[any]int{}}
	var once []starlark.Value // lists and the like, which are frozen once; not looked into yet
	met := map[any]bool{}
	c := chains{known: map[any]link{}, ends: func(v starlark.Value, id any) bool {
		if !frozen.notices(v) {
			return false
		}
		if !met[id] {
			met[id] = true
			once = append(once, v)
		}
		return true
	}}
	total := link{}
	for _, name := range globals.Keys() { // sorted, so that the error is the same each time
		if m.exceeds(globals[name]) {
			return tooDeep()
		}
		total.add(c.follow(globals[name]))
		for len(once) > 0 {
			inner := parts(once[len(once)-1])
			once = once[:len(once)-1]
			for _, part := range inner {
				total.add(c.follow(part))
			}
		}
		for _, v := range c.circle {
			if f, ok := v.(*starlark.Function); ok {
				return failure.New("", "", "%s: function %s refers to itself", f.Position(), f.Name()).
					WithHint("a function can't call itself, not even through others; use a for loop, with a list of what is left to do")
			}
		}
		if total.visits == tooManyVisits {
			return failure.New("", "", "%w", exceeded(fmt.Sprintf("%s holds the same values too many times over, in tuples of tuples or in functions", name))).
				WithHint("lists may hold one another any number of times")
		}
	}
	return nil
}
