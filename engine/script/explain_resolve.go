package script

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// elsewhere holds names that other dialects and languages have and Starlark writes otherwise.
var elsewhere = map[string]string{
	"filter":     "[x for x in xs if condition(x)] picks items",
	"format":     `"{}".format(x) and "%s" % x make text`,
	"isinstance": `type(x) == "string" tells what a value is`,
	"map":        "[f(x) for x in xs] calls f for each item",
	"nil":        "write None",
	"null":       "write None",
	"pow":        "math.pow(x, y) raises to a power",
	"round":      "math.round(x) rounds",
	"sum":        "add in a for loop inside a function",
}

// rules are hints for the resolver's messages, by how they start.
var rules = []struct{ prefix, hint string }{
	{"if statement not within", "a library only defines; put it into a function, or choose a value with a if condition else b"},
	{"for loop not within", "a library only defines; put it into a function, or make a list with [f(x) for x in xs]"},
	{"while loops", "write for _ in range(n): and leave it with break"},
	{"return statement not within", `fail("message") ends a script early; return belongs in a def`},
	{"load statement within", "write load at the top level, outside of if, for and def"},
	{"load: names with leading underscores", "a leading underscore keeps a name private to its file; rename it there"},
	{"can't assign to", "= assigns to a name, an element or a field; == compares"},
	{"can't use", "assign each name on its own"},
	{"positional argument may not follow", "put the arguments without a name first"},
	{"required parameter may not follow optional", "put the parameters without a default first, or a * before this one"},
}

// messages replaces those of the resolver that speak of its own data types or of Starlark's dialects.
var messages = map[string]string{
	"can't assign to binaryexpr":                         "can't assign to an expression",
	"can't assign to callexpr":                           "can't assign to a call",
	"can't assign to comprehension":                      "can't assign to a comprehension",
	"can't assign to condexpr":                           "can't assign to an expression",
	"can't assign to dictexpr":                           "can't assign to a dict",
	"can't assign to lambdaexpr":                         "can't assign to a lambda",
	"can't assign to literal":                            "can't assign to a literal",
	"can't assign to sliceexpr":                          "can't assign to a slice",
	"can't assign to unaryexpr":                          "can't assign to an expression",
	"this Starlark dialect does not support while loops": "while loops are not supported",
}

// explainResolve turns one of the resolver's errors into a problem with a hint. It needs f.tree, resolved.
func explainResolve(f *file, wrong resolve.Error, predeclared starlark.StringDict, hints map[string]string) Problem {
	p := Problem{Pos: wrong.Pos, Message: wrong.Msg}
	if name, ok := strings.CutPrefix(wrong.Msg, "undefined: "); ok {
		name, suggestion := withoutSuggestion(name)
		p.Message = "undefined: " + name
		p.Hint = undefined(name, suggestion, predeclared, hints)
		return p
	}
	if rest, ok := strings.CutPrefix(wrong.Msg, "cannot reassign "); ok {
		// "global x declared at file:line:col", "local x declared at ...", "top-level x"
		words := strings.Fields(rest)
		p.Hint = f.reassigned(words[1], wrong.Pos)
		p.Message = fmt.Sprintf("%s has a value already", words[1])
		if first := f.firstBinding(words[1]); first.Line > 0 {
			p.Message += ", from " + first.String()
		}
		return p
	}
	if message, ok := messages[p.Message]; ok {
		p.Message = message
	}
	for _, rule := range rules {
		if strings.HasPrefix(p.Message, rule.prefix) {
			p.Hint = rule.hint
			break
		}
	}
	return p
}

// undefined says what to write instead of a name that nothing defines. suggestion is the nearest of the file's own names.
func undefined(name, suggestion string, predeclared starlark.StringDict, hints map[string]string) string {
	for _, table := range []map[string]string{hints, elsewhere} {
		if hint := table[name]; hint != "" {
			return hint
		}
	}
	names := slices.Concat(slices.Collect(maps.Keys(predeclared)), slices.Collect(maps.Keys(starlark.Universe)))
	if suggestion != "" {
		names = append(names, suggestion)
	}
	if near := Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return ""
}

// firstBinding returns where name is first given a value at the top level of f.
func (f *file) firstBinding(name string) syntax.Position {
	module := f.tree.Module.(*resolve.Module)
	for _, binding := range slices.Concat(module.Globals, module.Locals) {
		if binding.First.Name == name {
			return binding.First.NamePos
		}
	}
	return syntax.Position{}
}

// reassigned says how to write what the second assignment of a global wants.
func (f *file) reassigned(name string, pos syntax.Position) string {
	first := enclosing(f.tree.Stmts, f.firstBinding(name))
	second := enclosing(f.tree.Stmts, pos)
	if len(first) == 0 || len(second) == 0 {
		return ""
	}
	if isLoad(first) || isLoad(second) {
		return fmt.Sprintf(`load it under another name: load("…", my_%s = %q)`, name, name)
	}
	if branch, ok := first[0].(*syntax.IfStmt); ok && first[0] == second[0] && branch.ElsePos.Line > 0 &&
		before(f.firstBinding(name), branch.ElsePos) && before(branch.ElsePos, pos) {
		return fmt.Sprintf("a global is assigned in one place: write %s = A if CONDITION else B, or move the if into a function", name)
	}
	switch last := second[len(second)-1].(type) {
	case *syntax.ForStmt:
		return "give this loop's variable another name, or move the loop into a function"
	case *syntax.DefStmt:
		return "give one of the two another name"
	case *syntax.AssignStmt:
		if last.Op != syntax.EQ {
			return "a global keeps its first value: change a list with .append or .extend, or do the work inside a function"
		}
	}
	return "a global keeps its first value: give the second one a name of its own, or do the work inside a function"
}

func isLoad(path []syntax.Stmt) bool {
	_, ok := path[len(path)-1].(*syntax.LoadStmt)
	return ok
}

func before(a, b syntax.Position) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
}

// enclosing returns the statements around the binding at pos, outermost first. The last one binds it.
func enclosing(stmts []syntax.Stmt, pos syntax.Position) []syntax.Stmt {
	for _, s := range stmts {
		start, end := s.Span()
		if before(pos, start) || before(end, pos) {
			continue
		}
		var inner []syntax.Stmt
		switch s := s.(type) {
		case *syntax.IfStmt:
			inner = enclosing(slices.Concat(s.True, s.False), pos)
		case *syntax.ForStmt:
			inner = enclosing(s.Body, pos)
		case *syntax.WhileStmt:
			inner = enclosing(s.Body, pos)
		}
		return append([]syntax.Stmt{s}, inner...)
	}
	return nil
}
