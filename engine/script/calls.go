package script

import (
	"maps"
	"math/big"
	"slices"

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
	Text   map[string]string         // the source text of each keyword argument's value
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
	known := literals{globals: map[string]syntax.Expr{}}
	for _, statement := range f.tree.Stmts {
		if assign, ok := statement.(*syntax.AssignStmt); ok && assign.Op == syntax.EQ {
			if to, ok := assign.LHS.(*syntax.Ident); ok {
				known.globals[to.Name] = assign.RHS
			}
		}
	}
	var calls []Call
	syntax.Walk(f.tree, func(n syntax.Node) bool {
		if call, ok := n.(*syntax.CallExpr); ok {
			if callee, ok := call.Fn.(*syntax.Ident); ok && callee.Name == name && scope(callee) == resolve.Predeclared {
				calls = append(calls, known.call(f, call))
			}
		}
		return true
	})
	return calls
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
	depth   int // of nested expressions and of globals that refer to each other, even in a circle
}

func (l *literals) call(f *file, call *syntax.CallExpr) Call {
	c := Call{Pos: syntax.Start(call), Kwargs: map[string]starlark.Value{}, Text: map[string]string{}}
	for _, arg := range call.Args {
		if unary, ok := arg.(*syntax.UnaryExpr); ok && (unary.Op == syntax.STAR || unary.Op == syntax.STARSTAR) {
			continue
		}
		if named, ok := arg.(*syntax.BinaryExpr); ok && named.Op == syntax.EQ {
			name := named.X.(*syntax.Ident).Name
			c.Kwargs[name] = l.value(named.Y)
			c.Text[name] = f.text(named.Y)
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
	if l.depth > 100 {
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
				if result, err := starlark.Binary(x.Op, a, b); err == nil {
					return result
				}
			}
		}
	case *syntax.ListExpr:
		if elems, ok := l.values(x.List); ok {
			return starlark.NewList(elems)
		}
	case *syntax.TupleExpr:
		if elems, ok := l.values(x.List); ok {
			return starlark.Tuple(elems)
		}
	case *syntax.DictExpr:
		return l.dict(x)
	}
	return nil
}

func (l *literals) values(list []syntax.Expr) ([]starlark.Value, bool) {
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
		if x := l.globals[id.Name]; x != nil {
			return l.value(x)
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

// text returns the source text of n.
func (f *file) text(n syntax.Node) string {
	start, end := n.Span()
	from, to := offset(f.source, start.Line, start.Col), offset(f.source, end.Line, end.Col)
	if from > to {
		return ""
	}
	return string(f.source[from:to])
}
