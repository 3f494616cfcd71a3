package script

import (
	"fmt"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// order finds variables that are read before they are assigned, when that is certain from the text. The interpreter
// finds them too, but only when it gets there: after an hour's build, say. The usual case is a variable named like the
// builtin that makes it (path = path("x")), which hides the builtin in its whole file or function.
type order struct {
	file        *file
	predeclared starlark.StringDict
	assigned    map[*resolve.Binding]bool
	global      bool // looking at the top level; else at a function's body
}

// checkOrder records a problem for each variable of f that is read too early.
func (f *file) checkOrder(predeclared starlark.StringDict) {
	o := &order{file: f, predeclared: predeclared, assigned: map[*resolve.Binding]bool{}, global: true}
	o.stmts(f.tree.Stmts)
}

func (o *order) stmts(stmts []syntax.Stmt) {
	for _, s := range stmts {
		o.stmt(s)
	}
}

// stmt looks at the statement's reads, then notes its assignments. What a branch assigns counts as assigned after it.
func (o *order) stmt(s syntax.Stmt) {
	switch s := s.(type) {
	case *syntax.AssignStmt:
		o.reads(s.RHS)
		if s.Op != syntax.EQ {
			o.reads(s.LHS)
		}
		o.assign(s.LHS)
	case *syntax.ExprStmt:
		o.reads(s.X)
	case *syntax.ReturnStmt:
		if s.Result != nil {
			o.reads(s.Result)
		}
	case *syntax.IfStmt:
		o.reads(s.Cond)
		o.stmts(s.True)
		o.stmts(s.False)
	case *syntax.ForStmt:
		o.reads(s.X)
		o.assign(s.Vars)
		// The second round may read what the first assigned further down.
		o.assignAll(s.Body)
		o.stmts(s.Body)
	case *syntax.DefStmt:
		for _, param := range s.Params {
			if optional, ok := param.(*syntax.BinaryExpr); ok {
				o.reads(optional.Y)
			}
		}
		o.assign(s.Name)
		o.function(s)
	}
}

// function looks at a function's own variables. Globals and those of functions around it may be assigned before the call.
func (o *order) function(def *syntax.DefStmt) {
	inner := &order{file: o.file, predeclared: o.predeclared, assigned: map[*resolve.Binding]bool{}}
	for _, param := range def.Params {
		switch param := param.(type) {
		case *syntax.Ident:
			inner.assign(param)
		case *syntax.BinaryExpr:
			inner.assign(param.X)
		case *syntax.UnaryExpr:
			if param.X != nil {
				inner.assign(param.X)
			}
		}
	}
	inner.stmts(def.Body)
}

// assign notes the variables that an assignment to x gives a value, and looks at what it reads: in a[i] = 1, a and i.
func (o *order) assign(x syntax.Expr) {
	switch x := x.(type) {
	case *syntax.Ident:
		if binding, ok := x.Binding.(*resolve.Binding); ok {
			o.assigned[binding] = true
		}
	case *syntax.ParenExpr:
		o.assign(x.X)
	case *syntax.TupleExpr:
		for _, elem := range x.List {
			o.assign(elem)
		}
	case *syntax.ListExpr:
		for _, elem := range x.List {
			o.assign(elem)
		}
	default:
		o.reads(x)
	}
}

// assignAll notes all variables that a loop's body assigns.
func (o *order) assignAll(stmts []syntax.Stmt) {
	for _, s := range stmts {
		switch s := s.(type) {
		case *syntax.AssignStmt:
			o.assignNames(s.LHS)
		case *syntax.IfStmt:
			o.assignAll(s.True)
			o.assignAll(s.False)
		case *syntax.ForStmt:
			o.assignNames(s.Vars)
			o.assignAll(s.Body)
		case *syntax.DefStmt:
			o.assign(s.Name)
		}
	}
}

func (o *order) assignNames(x syntax.Expr) {
	syntax.Walk(x, func(n syntax.Node) bool {
		if id, ok := n.(*syntax.Ident); ok {
			o.assign(id)
		}
		return true
	})
}

// reads records a problem for each variable that x reads and nothing assigned yet.
func (o *order) reads(x syntax.Expr) {
	syntax.Walk(x, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.LambdaExpr:
			return false // its body runs later; its defaults are too rare to look at
		case *syntax.Comprehension:
			for _, clause := range n.Clauses {
				if loop, ok := clause.(*syntax.ForClause); ok {
					o.assignNames(loop.Vars)
				}
			}
		case *syntax.Ident:
			o.read(n)
		}
		return true
	})
}

func (o *order) read(id *syntax.Ident) {
	binding, ok := id.Binding.(*resolve.Binding) // field and keyword names have none
	if !ok || o.assigned[binding] || binding.First == nil {
		return
	}
	kind := "global"
	if o.global && binding.Scope != resolve.Global {
		return
	}
	if !o.global {
		kind = "local"
		if binding.Scope != resolve.Local && binding.Scope != resolve.Cell {
			return
		}
	}
	o.assigned[binding] = true // once is enough
	o.file.report(id.NamePos, fmt.Sprintf("%s variable %s referenced before assignment", kind, id.Name),
		earlyHint(id.Name, binding.First.NamePos, o.global, o.predeclared))
}

// earlyHint explains a read of a variable that is assigned only at pos.
func earlyHint(name string, pos syntax.Position, global bool, predeclared starlark.StringDict) string {
	if !predeclared.Has(name) && !starlark.Universe.Has(name) {
		return fmt.Sprintf("it gets its value at %s, which runs later", pos)
	}
	where := "the file"
	if !global {
		where = "the function"
	}
	return fmt.Sprintf("the assignment at %s hides the builtin %s in all of %s; give the variable another name", pos, name, where)
}
