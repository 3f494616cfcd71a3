package script

import (
	"reflect"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

const (
	// maxNesting is how deep values may be nested in each other. Printing, hashing, freezing and encoding a value recurse over
	// it, and Go ends a process whose stack grows over a gigabyte, without a chance to clean up. A level takes half a kilobyte.
	maxNesting = 100_000
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
	m := measure{depth: map[any]int{}}
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
	depth map[any]int // of the values that were walked, or are being walked, by their identity
}

// visit is a value that is being walked.
type visit struct {
	id    any
	parts []starlark.Value // left to walk
	depth int              // of the deepest part so far
}

// exceeds reports whether v is nested more than maxNesting deep.
func (m *measure) exceeds(v starlark.Value) bool {
	var open []visit
	enter := func(v starlark.Value) int {
		id := identity(v)
		if id == nil {
			return 0
		}
		if depth, known := m.depth[id]; known {
			return depth // 0 while it is being walked: a circle, which what recurses notices as well
		}
		inner := parts(v)
		if len(inner) == 0 && starlark.Len(v) <= fewParts {
			return 1
		}
		m.depth[id] = 0
		open = append(open, visit{id: id, parts: inner})
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
		depth := open[top].depth + 1
		if depth > maxNesting {
			return true
		}
		m.depth[open[top].id] = depth
		if open = open[:top]; top > 0 {
			open[top-1].depth = max(open[top-1].depth, depth)
		}
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
