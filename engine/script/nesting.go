package script

import (
	"reflect"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

const (
	// maxNesting is how deep values may be nested in each other. Printing, hashing, freezing and encoding a value recurse over
	// it, and Go ends a process whose stack grows over a gigabyte, without a chance to clean up. A level takes half a kilobyte;
	// what is printed takes time with the square of the levels, too. It is also how deep encoding/json reads.
	maxNesting = 10_000
	// measureAfter is after how many allocated bytes nesting is measured again. A level takes 40 bytes of heap, so that in
	// between there is room for another 800,000 levels, and no script of any sane size is ever measured.
	measureAfter = 32 << 20
	// measureSteps is after how many steps of the interpreter, too: a step adds a level at most, except when it decodes JSON,
	// whose levels are counted. Measuring takes its time where much is alive.
	measureSteps = 800_000
	// fewParts is how many elements are looked through again rather than remembered: most lists hold nothing nested.
	fewParts = 8
)

// nestedTooDeeply reports whether a value that the running functions can reach is nested too deeply. It is for the
// interpreter's own goroutine.
func (g *governor) nestedTooDeeply() bool {
	if g.thread.ExecutionSteps()-g.stepped+g.decoded < measureSteps || sample(everAllocated)-g.allocated < measureAfter {
		return false
	}
	// What measuring takes doesn't count.
	defer func() { g.allocated, g.stepped, g.decoded = sample(everAllocated), g.thread.ExecutionSteps(), 0 }()
	m := measure{of: reached, depth: map[any]int{}}
	for level := range g.thread.CallStackDepth() {
		frame := g.thread.DebugFrame(level)
		if m.exceeds(frame.Callable()) {
			return true
		}
		if f, ok := frame.Callable().(*starlark.Function); ok {
			for _, global := range f.Globals() {
				if m.exceeds(global) {
					return true
				}
			}
		}
		for i := range frame.NumLocals() {
			if _, local := frame.Local(i); m.exceeds(content(local)) {
				return true
			}
		}
	}
	return false
}

// content returns what a variable holds that inner functions share: the interpreter keeps it in a cell of its own, a
// struct with one field, which has no exported way in.
func content(v starlark.Value) starlark.Value {
	if v == nil || v.Type() != "cell" {
		return v
	}
	cell := reflect.ValueOf(v)
	if cell.Kind() != reflect.Pointer || cell.Elem().Kind() != reflect.Struct || cell.Elem().NumField() != 1 ||
		cell.Elem().Field(0).Type() != reflect.TypeFor[starlark.Value]() {
		return nil
	}
	return *(*starlark.Value)(cell.UnsafePointer())
}

// measure walks values without recursing.
type measure struct {
	of    purpose
	depth map[any]int // of the values that were walked, by their identity; of others, -1 less their number (see visit)
	met   int         // how many values were given a number

	endless bool // a circle was met that printing would go round for ever
}

// purpose is what a measured value is for: how what recurses notices a circle differs.
type purpose int

const (
	reached purpose = iota // by the script, which may hash it
	printed                // of functions and methods only the name
	frozen
)

// notices tells whether what recurses goes on from v only once. In a circle of values that don't notice, it never ends.
func (p purpose) notices(v starlark.Value) bool {
	switch v.(type) {
	case *starlark.List, *starlark.Dict:
		return true
	case *starlark.Set:
		return p != printed
	case *starlarkstruct.Struct: // it prints what it holds with no memory of what it is in; frozen, it notes so
		return p == frozen
	case starlark.Tuple:
		return false
	}
	return p == reached // hashing a function ends there
}

// visit is a value that is being walked, or that is in a circle with one.
type visit struct {
	value   starlark.Value
	id      any
	parts   []starlark.Value // left to walk
	depth   int              // of the deepest part so far, those aside that are in a circle with it
	number  int              // values are numbered as they are met
	first   int              // the lowest number of those in a circle with it, as far as is known
	self    bool             // it holds itself
	waiting int              // how many values waited when it was met
}

// exceeds reports whether v is nested more than maxNesting deep. The values of a circle, or of several that share values,
// have one depth, which is known when all of them were walked (Tarjan's algorithm finds which they are): until then they wait.
func (m *measure) exceeds(v starlark.Value) bool {
	var open, waiting []visit
	enter := func(v starlark.Value) int {
		id := identity(v)
		if id == nil || m.of == printed && onlyNamed(v) {
			return 0
		}
		if depth, known := m.depth[id]; known {
			if depth < 0 {
				inner, number := &open[len(open)-1], -1-depth
				inner.first = min(inner.first, number)
				inner.self = inner.self || inner.number == number
			}
			return max(depth, 0)
		}
		inner := parts(v)
		if len(inner) == 0 && starlark.Len(v) <= fewParts {
			return 1
		}
		m.met++
		m.depth[id] = -1 - m.met
		open = append(open, visit{value: v, id: id, parts: inner, number: m.met, first: m.met, waiting: len(waiting)})
		return 0
	}
	enter(v)
	for len(open) > 0 {
		if len(open) > maxNesting {
			return true
		}
		top := len(open) - 1
		if n := len(open[top].parts); n > 0 {
			part := open[top].parts[n-1]
			open[top].parts = open[top].parts[:n-1]
			depth := enter(part) // may move open
			open[top].depth = max(open[top].depth, depth)
			continue
		}
		done := open[top]
		open, waiting = open[:top], append(waiting, done)
		depth := done.depth
		if done.first == done.number { // what waits since it was met is in a circle with it, and with nothing before
			depth += m.levels(waiting[done.waiting:])
			if depth > maxNesting {
				return true
			}
			for _, member := range waiting[done.waiting:] {
				m.depth[member.id] = depth
			}
			waiting = waiting[:done.waiting]
		}
		if top > 0 {
			open[top-1].depth = max(open[top-1].depth, depth)
			open[top-1].first = min(open[top-1].first, done.first)
		}
	}
	return false
}

// levels returns how many levels at most the values of a circle add to the deepest of the others that they hold: in one
// descent each of those that notice comes once, and before and after it the longest chain of those that don't.
func (m *measure) levels(members []visit) int {
	if len(members) == 1 && !members[0].self {
		return 1
	}
	inside := make(map[any]bool, len(members))
	for _, member := range members {
		inside[member.id] = true
	}
	c := chains{known: map[any]link{}, ends: func(v starlark.Value, id any) bool { return !inside[id] || m.of.notices(v) }}
	longest, noticing := 0, 0
	for _, member := range members {
		if m.of.notices(member.value) {
			noticing++
			continue
		}
		if _, ok := member.value.(*starlarkstruct.Struct); ok && m.of == printed {
			m.endless = true
		}
		longest = max(longest, c.follow(member.value).length)
	}
	if m.of == reached {
		return longest + 1 // nothing that has no bound of its own gets past those that notice
	}
	return (noticing + 1) * (longest + 1)
}

// onlyNamed tells whether nothing of what v holds is printed with it.
func onlyNamed(v starlark.Value) bool {
	switch v.(type) {
	case *starlark.Function, *starlark.Builtin, *starlarkstruct.Module:
		return true
	}
	return false
}

// span identifies a tuple.
type span struct {
	first *starlark.Value
	n     int
}

// identity returns what tells a value that holds others from all the rest, or nil for one that holds none.
func identity(v starlark.Value) any {
	switch v := v.(type) {
	case *starlark.List, *starlark.Dict, *starlark.Set, *starlark.Function, *starlark.Builtin,
		*starlarkstruct.Struct, *starlarkstruct.Module:
		return v
	case starlark.Tuple:
		if len(v) > 0 {
			return span{&v[0], len(v)}
		}
	}
	return nil
}

// parts returns the values that v holds and that hold values themselves; the caller may change the slice.
func parts(v starlark.Value) (all []starlark.Value) {
	add := func(part starlark.Value) {
		if identity(part) != nil {
			all = append(all, part)
		}
	}
	switch v := v.(type) {
	case *starlark.List:
		for i := range v.Len() {
			add(v.Index(i))
		}
	case starlark.Tuple:
		for _, element := range v {
			add(element)
		}
	case *starlark.Dict:
		for key, value := range v.Entries() {
			add(key)
			add(value)
		}
	case *starlark.Set:
		for element := range v.Elements() {
			add(element)
		}
	case *starlarkstruct.Struct:
		for _, name := range v.AttrNames() {
			if value, err := v.Attr(name); err == nil {
				add(value)
			}
		}
	case *starlarkstruct.Module:
		for _, value := range v.Members {
			add(value)
		}
	case *starlark.Builtin:
		add(v.Receiver())
	case *starlark.Function:
		for i := range v.NumFreeVars() {
			_, value := v.FreeVar(i)
			add(value)
		}
		for i := range v.NumParams() {
			add(v.ParamDefault(i))
		}
	}
	return all
}
