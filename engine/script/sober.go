package script

import "go.starlark.net/syntax"

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
	soberStatements(again.Stmts)
	return again
}

func soberStatements(stmts []syntax.Stmt) {
	for _, s := range stmts {
		switch s := s.(type) {
		case *syntax.AssignStmt:
			s.RHS = soberExpr(s.RHS)
			soberTarget(s.LHS)
			if name := soberNames[s.Op]; name != "" {
				// What stands on the left is evaluated twice, so it must have no effect. Where it may have, the operator stays.
				if again := readAgain(s.LHS); again != nil {
					s.Op, s.RHS = syntax.EQ, call(name, s.OpPos, again, s.RHS)
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
