package script

import (
	"maps"
	"math/big"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Call is a call of a builtin as it stands in the script's text.
type Call struct {
	Pos    syntax.Position           // of the function's name
	Args   []starlark.Value          // positional arguments; nil for one whose value is known only when the script runs
	Firsts []starlark.Value          // of positional arguments that are lists, the first element; nil otherwise or when it isn't known
	Kwargs map[string]starlark.Value // keyword arguments; nil likewise
	Maybe  bool                      // it is within a condition, or behind "and" or "or": a run may do without

	file  *file
	exprs map[string]syntax.Expr // of keyword arguments
}

// What a script's text is allowed to have worked out: no run's limits hold yet.
const (
	maxText    = 64 << 10 // bytes of a string, elements of a list or a tuple, and bytes of Call.Text
	maxEffort  = 16 << 20 // bytes that all values take together, roughly
	exprEffort = 16       // of one expression
)

// Text returns the source text of a keyword argument's value, and whether there is one. What is longer than maxText is cut.
func (c Call) Text(name string) (text string, ok bool) {
	x, ok := c.exprs[name]
	if !ok {
		return "", false
	}
	return c.file.text(x), true
}

// Calls returns the calls of the predeclared name in the entry script, in the order of the text, without running it.
// Literals have their values, and so have globals that are assigned one, as no global has a second value. The
// arguments in *args and **kwargs are not among them.
func (p *Program) Calls(name string) []Call { return p.entry.calls(name) }

// AllCalls returns those of the entry script and then those of each library.
func (p *Program) AllCalls(name string) []Call {
	calls := p.Calls(name)
	for _, key := range slices.Sorted(maps.Keys(p.files)) {
		if f := p.files[key]; f != p.entry {
			calls = append(calls, f.calls(name)...)
		}
	}
	return calls
}

func (f *file) calls(name string) []Call {
	known := literals{globals: map[string]syntax.Expr{}, values: map[string]starlark.Value{}, left: maxEffort}
	for _, statement := range f.tree.Stmts {
		if assign, ok := statement.(*syntax.AssignStmt); ok && assign.Op == syntax.EQ {
			if to, ok := assign.LHS.(*syntax.Ident); ok {
				known.globals[to.Name] = assign.RHS
			}
		}
	}
	var calls []Call
	var open []bool // for each node around, whether what is in it may not be executed
	syntax.Walk(f.tree, func(n syntax.Node) bool {
		if n == nil {
			open = open[:len(open)-1]
			return true
		}
		maybe := len(open) > 0 && open[len(open)-1]
		open = append(open, maybe || conditional(n))
		if call, ok := n.(*syntax.CallExpr); ok {
			if callee, ok := call.Fn.(*syntax.Ident); ok && callee.Name == name && scope(callee) == resolve.Predeclared {
				made := known.call(f, call)
				made.Maybe = maybe
				calls = append(calls, made)
			}
		}
		return true
	})
	return calls
}

// conditional reports whether parts of n may not be executed where n is. That loops and functions may not be either is left
// out: they are there to be.
func conditional(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.IfStmt, *syntax.CondExpr:
		return true
	case *syntax.BinaryExpr:
		return n.Op == syntax.AND || n.Op == syntax.OR
	}
	return false
}

// scope returns what kind of thing id refers to.
func scope(id *syntax.Ident) resolve.Scope {
	if binding, ok := id.Binding.(*resolve.Binding); ok {
		return binding.Scope
	}
	return resolve.Undefined
}

// literals evaluates expressions that don't depend on a run.
type literals struct {
	globals map[string]syntax.Expr
	values  map[string]starlark.Value // of globals that were asked for; nil while it is worked out, and for one that isn't known
	depth   int                       // of nested expressions and of globals that refer to each other
	left    int                       // effort
}

func (l *literals) call(f *file, call *syntax.CallExpr) Call {
	c := Call{Pos: syntax.Start(call), Kwargs: map[string]starlark.Value{}, file: f, exprs: map[string]syntax.Expr{}}
	for _, arg := range call.Args {
		if unary, ok := arg.(*syntax.UnaryExpr); ok && (unary.Op == syntax.STAR || unary.Op == syntax.STARSTAR) {
			continue
		}
		if named, ok := arg.(*syntax.BinaryExpr); ok && named.Op == syntax.EQ {
			name := named.X.(*syntax.Ident).Name
			c.Kwargs[name], c.exprs[name] = l.value(named.Y), named.Y
			continue
		}
		c.Args = append(c.Args, l.value(arg))
		c.Firsts = append(c.Firsts, l.first(arg))
	}
	return c
}

// first returns the value of the first element of a list, however little is known of the others.
func (l *literals) first(x syntax.Expr) starlark.Value {
	if id, ok := x.(*syntax.Ident); ok && scope(id) == resolve.Global && l.globals[id.Name] != nil {
		x = l.globals[id.Name]
	}
	if list, ok := x.(*syntax.ListExpr); ok && len(list.List) > 0 {
		return l.value(list.List[0])
	}
	return nil
}

// value returns the value of x, or nil when only a run can tell.
func (l *literals) value(x syntax.Expr) starlark.Value {
	if l.left -= exprEffort; l.depth > 100 || l.left < 0 {
		return nil
	}
	l.depth++
	defer func() { l.depth-- }()
	switch x := x.(type) {
	case *syntax.Literal:
		return literal(x)
	case *syntax.ParenExpr:
		return l.value(x.X)
	case *syntax.Ident:
		return l.name(x)
	case *syntax.UnaryExpr:
		if v := l.value(x.X); v != nil {
			if result, err := starlark.Unary(x.Op, v); err == nil {
				return result
			}
		}
	case *syntax.BinaryExpr:
		// Concatenation only: a repetition could make a value of any size.
		if x.Op == syntax.PLUS {
			if a, b := l.value(x.X), l.value(x.Y); a != nil && b != nil {
				return l.sum(a, b)
			}
		}
	case *syntax.ListExpr:
		if elems, ok := l.elements(x.List); ok {
			return starlark.NewList(elems)
		}
	case *syntax.TupleExpr:
		if elems, ok := l.elements(x.List); ok {
			return starlark.Tuple(elems)
		}
	case *syntax.DictExpr:
		return l.dict(x)
	}
	return nil
}

// sum returns a + b, or nil if there is none or it is too large.
func (l *literals) sum(a, b starlark.Value) starlark.Value {
	size := 1
	switch a.(type) {
	case *starlark.List, starlark.Tuple:
		size = elementSize
	}
	n := max(starlark.Len(a), 0) + max(starlark.Len(b), 0) // a number has none
	if l.left -= n * size; n > maxText || l.left < 0 {
		return nil
	}
	result, err := starlark.Binary(syntax.PLUS, a, b)
	if err != nil {
		return nil
	}
	return result
}

func (l *literals) elements(list []syntax.Expr) ([]starlark.Value, bool) {
	elems := make([]starlark.Value, 0, len(list))
	for _, x := range list {
		v := l.value(x)
		if v == nil {
			return nil, false
		}
		elems = append(elems, v)
	}
	return elems, true
}

func (l *literals) dict(x *syntax.DictExpr) starlark.Value {
	dict := starlark.NewDict(len(x.List))
	for _, item := range x.List {
		entry := item.(*syntax.DictEntry)
		k, v := l.value(entry.Key), l.value(entry.Value)
		if _, tuple := k.(starlark.Tuple); tuple {
			return nil // of two that hold the same one twice, and so on, which takes ages to hash
		}
		if k == nil || v == nil || dict.SetKey(k, v) != nil {
			return nil
		}
	}
	return dict
}

func (l *literals) name(id *syntax.Ident) starlark.Value {
	switch scope(id) {
	case resolve.Universal:
		switch id.Name {
		case "None", "True", "False":
			return starlark.Universe[id.Name]
		}
	case resolve.Global:
		if known, asked := l.values[id.Name]; asked {
			return known
		}
		if x := l.globals[id.Name]; x != nil {
			l.values[id.Name] = nil // for globals that refer to each other in a circle
			l.values[id.Name] = l.value(x)
			return l.values[id.Name]
		}
	}
	return nil
}

func literal(x *syntax.Literal) starlark.Value {
	switch v := x.Value.(type) {
	case string:
		if x.Token == syntax.BYTES {
			return starlark.Bytes(v)
		}
		return starlark.String(v)
	case int64:
		return starlark.MakeInt64(v)
	case *big.Int:
		return starlark.MakeBigInt(v)
	case float64:
		return starlark.Float(v)
	}
	return nil
}

// text returns the source text of n, or how it begins.
func (f *file) text(n syntax.Node) string {
	if f.marks == nil {
		f.marks = marks(f.source)
	}
	start, end := n.Span()
	from, to := offset(f.source, f.marks, start.Line, start.Col), offset(f.source, f.marks, end.Line, end.Col)
	if from > to {
		return ""
	}
	if to-from > maxText {
		return strings.ToValidUTF8(string(f.source[from:from+maxText]), "")
	}
	return string(f.source[from:to])
}
