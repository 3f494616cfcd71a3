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

// repeatName is the builtin that stands for the operator. No script can write it, nor ".replace" and its like, which stand for
// methods.
const repeatName = "*"

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
// know, and the two that sober puts into scripts.
func gulpers() starlark.StringDict {
	all := starlark.StringDict{
		repeatName: starlark.NewBuiltin(repeatName, repeat),
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
		return method.CallInternal(thread, args, kwargs)
	}).BindReceiver(text)
}

// sober returns source parsed again, with the operations replaced that ask for room, or nil if it has none. The tree
// that hints are made from keeps them as they were written.
func sober(options *syntax.FileOptions, name string, source []byte, tree *syntax.File) *syntax.File {
	found := false
	syntax.Walk(tree, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			found = found || n.Op == syntax.STAR
		case *syntax.AssignStmt:
			found = found || n.Op == syntax.STAR_EQ
		case *syntax.DotExpr:
			found = found || hungry[n.Name.Name] != nil
		}
		return !found
	})
	if !found {
		return nil
	}
	again, err := options.Parse(name, source, 0)
	if err != nil {
		return nil // it parsed a moment ago
	}
	soberStatements(again.Stmts)
	return again
}

func soberStatements(stmts []syntax.Stmt) {
	for _, s := range stmts {
		switch s := s.(type) {
		case *syntax.AssignStmt:
			s.RHS = soberExpr(s.RHS)
			soberTarget(s.LHS)
			if s.Op == syntax.STAR_EQ {
				// What stands on the left is evaluated twice, so it must have no effect. Where it may have, the operator stays.
				if again := readAgain(s.LHS); again != nil {
					s.Op, s.RHS = syntax.EQ, call(repeatName, s.OpPos, again, s.RHS)
				}
			}
		case *syntax.ExprStmt:
			s.X = soberExpr(s.X)
		case *syntax.ReturnStmt:
			s.Result = soberExpr(s.Result)
		case *syntax.IfStmt:
			s.Cond = soberExpr(s.Cond)
			soberStatements(s.True)
			soberStatements(s.False)
		case *syntax.ForStmt:
			s.X = soberExpr(s.X)
			soberTarget(s.Vars)
			soberStatements(s.Body)
		case *syntax.WhileStmt:
			s.Cond = soberExpr(s.Cond)
			soberStatements(s.Body)
		case *syntax.DefStmt:
			soberParams(s.Params)
			soberStatements(s.Body)
		}
	}
}

func call(name string, pos syntax.Position, args ...syntax.Expr) syntax.Expr {
	return &syntax.CallExpr{Fn: &syntax.Ident{NamePos: pos, Name: name}, Lparen: pos, Args: args, Rparen: pos}
}

// readAgain returns a copy of a target without effects, or nil. A list that *= changes in place is another list then;
// Starlark makes a new one for *= as well.
func readAgain(target syntax.Expr) syntax.Expr {
	switch x := target.(type) {
	case *syntax.Ident:
		return &syntax.Ident{NamePos: x.NamePos, Name: x.Name}
	case *syntax.Literal:
		return x
	case *syntax.ParenExpr:
		return readAgain(x.X)
	case *syntax.IndexExpr:
		of, at := readAgain(x.X), readAgain(x.Y)
		if of != nil && at != nil {
			return &syntax.IndexExpr{X: of, Lbrack: x.Lbrack, Y: at, Rbrack: x.Rbrack}
		}
	}
	return nil
}

// soberTarget looks into what is assigned to: in a[i * 2] = 1, the index.
func soberTarget(target syntax.Expr) {
	switch x := target.(type) {
	case *syntax.IndexExpr:
		x.X, x.Y = soberExpr(x.X), soberExpr(x.Y)
	case *syntax.DotExpr:
		x.X = soberExpr(x.X)
	case *syntax.ParenExpr:
		soberTarget(x.X)
	case *syntax.TupleExpr:
		for _, elem := range x.List {
			soberTarget(elem)
		}
	case *syntax.ListExpr:
		for _, elem := range x.List {
			soberTarget(elem)
		}
	}
}

// soberParams looks into the defaults of a function's parameters.
func soberParams(params []syntax.Expr) {
	for _, param := range params {
		if optional, ok := param.(*syntax.BinaryExpr); ok {
			optional.Y = soberExpr(optional.Y)
		}
	}
}

func soberAll(list []syntax.Expr) {
	for i := range list {
		list[i] = soberExpr(list[i])
	}
}

func soberExpr(x syntax.Expr) syntax.Expr {
	switch x := x.(type) {
	case *syntax.BinaryExpr:
		if x.Op == syntax.EQ { // a keyword argument; its name isn't an expression
			x.Y = soberExpr(x.Y)
			return x
		}
		x.X, x.Y = soberExpr(x.X), soberExpr(x.Y)
		if x.Op == syntax.STAR {
			return call(repeatName, x.OpPos, x.X, x.Y)
		}
	case *syntax.DotExpr:
		x.X = soberExpr(x.X)
		if hungry[x.Name.Name] != nil {
			return call("."+x.Name.Name, x.Dot, x.X)
		}
	case *syntax.UnaryExpr:
		x.X = soberExpr(x.X)
	case *syntax.ParenExpr:
		x.X = soberExpr(x.X)
	case *syntax.CallExpr:
		x.Fn = soberExpr(x.Fn)
		soberAll(x.Args)
	case *syntax.IndexExpr:
		x.X, x.Y = soberExpr(x.X), soberExpr(x.Y)
	case *syntax.SliceExpr:
		x.X, x.Lo, x.Hi, x.Step = soberExpr(x.X), soberExpr(x.Lo), soberExpr(x.Hi), soberExpr(x.Step)
	case *syntax.CondExpr:
		x.Cond, x.True, x.False = soberExpr(x.Cond), soberExpr(x.True), soberExpr(x.False)
	case *syntax.ListExpr:
		soberAll(x.List)
	case *syntax.TupleExpr:
		soberAll(x.List)
	case *syntax.DictExpr:
		soberAll(x.List)
	case *syntax.DictEntry:
		x.Key, x.Value = soberExpr(x.Key), soberExpr(x.Value)
	case *syntax.LambdaExpr:
		soberParams(x.Params)
		x.Body = soberExpr(x.Body)
	case *syntax.Comprehension:
		x.Body = soberExpr(x.Body)
		for _, clause := range x.Clauses {
			switch clause := clause.(type) {
			case *syntax.ForClause:
				clause.X = soberExpr(clause.X)
			case *syntax.IfClause:
				clause.Cond = soberExpr(clause.Cond)
			}
		}
	}
	return x
}

// withGulpers returns the builtins that ask for room, and over them those of predeclared.
func withGulpers(predeclared starlark.StringDict) starlark.StringDict {
	all := gulpers()
	maps.Copy(all, predeclared)
	return all
}
