package script

import (
	"fmt"

	"go.starlark.net/syntax"
)

// sober returns source parsed again, with the operations replaced that ask for room, or nil if it has none. The tree
// that hints are made from keeps them as they were written.
func sober(options *syntax.FileOptions, name string, source []byte, tree *syntax.File) *syntax.File {
	found := false
	syntax.Walk(tree, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			found = found || soberNames[n.Op] != ""
		case *syntax.AssignStmt:
			found = found || soberNames[n.Op] != ""
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
	places := 0
	again.Stmts = soberStatements(again.Stmts, &places)
	return again
}

// soberStatements returns stmts with their operations replaced. It counts the variables that it makes in places.
func soberStatements(stmts []syntax.Stmt, places *int) []syntax.Stmt {
	var sobered []syntax.Stmt // stays nil where there is no else
	for _, s := range stmts {
		switch s := s.(type) {
		case *syntax.AssignStmt:
			s.RHS = soberExpr(s.RHS)
			soberTarget(s.LHS)
			if name := soberNames[s.Op]; name != "" {
				var before []syntax.Stmt
				fix := func(x syntax.Expr) syntax.Expr {
					x, fixed := evaluateOnce(x, places)
					if fixed != nil {
						before = append(before, fixed)
					}
					return x
				}
				if read := readAgain(s.LHS, fix); read != nil { // else nothing can be assigned to it
					s.Op, s.RHS = syntax.EQ, call(name, s.OpPos, read, s.RHS)
				}
				sobered = append(sobered, before...)
			}
		case *syntax.ExprStmt:
			s.X = soberExpr(s.X)
		case *syntax.ReturnStmt:
			s.Result = soberExpr(s.Result)
		case *syntax.IfStmt:
			s.Cond = soberExpr(s.Cond)
			s.True, s.False = soberStatements(s.True, places), soberStatements(s.False, places)
		case *syntax.ForStmt:
			s.X = soberExpr(s.X)
			soberTarget(s.Vars)
			s.Body = soberStatements(s.Body, places)
		case *syntax.WhileStmt:
			s.Cond = soberExpr(s.Cond)
			s.Body = soberStatements(s.Body, places)
		case *syntax.DefStmt:
			soberParams(s.Params)
			s.Body = soberStatements(s.Body, places)
		}
		sobered = append(sobered, s)
	}
	return sobered
}

func call(name string, pos syntax.Position, args ...syntax.Expr) syntax.Expr {
	return &syntax.CallExpr{Fn: &syntax.Ident{NamePos: pos, Name: name}, Lparen: pos, Args: args, Rparen: pos}
}

// readAgain returns what reads the target of an assignment before it is assigned to, or nil for one that no resolver lets
// pass. Reading and assigning must evaluate what the target is made of only once between them, and before the right-hand
// side, which may change it: fix sees to that. A list that *= changes in place is another list then; Starlark makes a new one
// for *= as well.
func readAgain(target syntax.Expr, fix func(syntax.Expr) syntax.Expr) syntax.Expr {
	switch x := target.(type) {
	case *syntax.Ident:
		return &syntax.Ident{NamePos: x.NamePos, Name: x.Name}
	case *syntax.ParenExpr:
		return readAgain(x.X, fix)
	case *syntax.IndexExpr:
		x.X, x.Y = fix(x.X), fix(x.Y)
		return &syntax.IndexExpr{X: copied(x.X), Lbrack: x.Lbrack, Y: copied(x.Y), Rbrack: x.Rbrack}
	case *syntax.DotExpr:
		x.X = fix(x.X)
		return &syntax.DotExpr{X: copied(x.X), Dot: x.Dot, NamePos: x.NamePos, Name: x.Name}
	}
	return nil
}

// copied returns a copy of what evaluateOnce returned.
func copied(x syntax.Expr) syntax.Expr {
	if name, ok := x.(*syntax.Ident); ok {
		return &syntax.Ident{NamePos: name.NamePos, Name: name.Name}
	}
	return x
}

// evaluateOnce returns an expression for x that has no effect and always the same value, and the statement before it that
// sees to that, or nil. The statement assigns x to a variable that no script can name, each a new one: at the top level of a
// file, where it is a global, none can be assigned to twice.
func evaluateOnce(x syntax.Expr, places *int) (syntax.Expr, syntax.Stmt) {
	switch x := x.(type) {
	case *syntax.Ident, *syntax.Literal: // no variable is assigned to within an expression
		return x, nil
	case *syntax.ParenExpr:
		return evaluateOnce(x.X, places)
	}
	*places++
	pos, _ := x.Span()
	name := fmt.Sprintf("$%d", *places)
	return &syntax.Ident{NamePos: pos, Name: name},
		&syntax.AssignStmt{OpPos: pos, Op: syntax.EQ, LHS: &syntax.Ident{NamePos: pos, Name: name}, RHS: x}
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
		if name := soberNames[x.Op]; name != "" {
			return call(name, x.OpPos, x.X, x.Y)
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
