package script

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// explainEvaluation gives an error of the interpreter, or of a builtin that has no hints of its own, its hint.
func (p *Program) explainEvaluation(err error, stack starlark.CallStack) error {
	top := starlark.CallFrame{}
	if len(stack) > 0 {
		top = stack[len(stack)-1]
	}
	if text, ok := strings.CutPrefix(err.Error(), "fail: "); ok && top.Name == "fail" && top.Pos.Line == 0 {
		if text == "" {
			text = "fail was called without a message"
		}
		return &failure.Error{Err: errors.New(text)} // the script's own words, as they are
	}
	message, suggestion := withoutSuggestion(err.Error())
	explained := &failure.Error{Err: err}
	if suggestion != "" {
		explained.Hint = fmt.Sprintf("did you mean %s?", suggestion)
		explained.Err = errors.New(message)
		return explained
	}
	explained.Hint = p.argumentHint(message, top)
	for _, rule := range evaluationRules {
		pattern := regexp.MustCompile(rule.message)
		if match := pattern.FindStringSubmatchIndex(message); explained.Hint == "" && match != nil {
			explained.Hint = string(pattern.ExpandString(nil, rule.hint, message, match))
		}
	}
	if explained.Hint == "" {
		return err
	}
	return explained
}

// evaluationRules are hints for the interpreter's messages; $1 is what the first group matched.
var evaluationRules = []struct {
	message string // a regular expression, compiled when there is an error to explain
	hint    string
}{
	{`^function (.+) called recursively$`, "a function can't call itself, not even through others; use a for loop, with a list of what is left to do"},
	{`^NoneType has no \.`, "the value is None: a function that ends without return gives None"},
	{`^NoneType value is not iterable`, "the value is None: a function that ends without return gives None"},
	{`^dict has no \.(\w+) field`, `d["$1"] reads an entry of a dict, d.get("$1") one that may be missing`},
	{`^string value is not iterable`, `text.elems() gives a string's characters, text.split() its words`},
	{`^key (.+) not in dict$`, `d.get($1) gives None for an entry that is missing`},
	{`frozen`, "what a loaded library holds can't be changed; list(x) and dict(x) make copies that can"},
	{`during iteration$`, "loop over a copy, list(x)"},
	{`^unknown binary op: (string \+|.* \+ string$)`, `str(x) makes text of any value, and "%s" % x puts one into text`},
	{`^(not enough|too many) arguments for format string`, "give as many values as the text has %s; a literal percent sign is written %%"},
	{`^(local|global) variable (\w+) referenced before assignment`, "no statement that ran has given it a value; assign it on every way that leads here"},
}

// argumentHint explains a call of a script's own function with the wrong arguments, whose frame is top.
func (p *Program) argumentHint(message string, top starlark.CallFrame) string {
	if !rejected(message, top) {
		return ""
	}
	params := p.params(top)
	_, keyword, ok := strings.Cut(message, " unexpected keyword argument ")
	if ok {
		if near := Nearest(strings.Trim(keyword, `"`), params); near != "" {
			return fmt.Sprintf("did you mean %s?", near)
		}
	}
	if ok || strings.Contains(message, " positional argument") {
		if len(params) > 0 {
			return fmt.Sprintf("%s takes %s", top.Name, strings.Join(params, ", "))
		}
	}
	return ""
}

// rejected reports whether the function of the topmost frame never started: the interpreter refused the call.
func rejected(message string, top starlark.CallFrame) bool {
	return top.Pos.Line > 0 && slices.ContainsFunc([]string{"called recursively", "accepts ", "missing ", "got "}, func(s string) bool {
		return strings.HasPrefix(message, "function "+top.Name+" "+s)
	})
}

// params returns the names of the parameters of the function that runs in frame, or nil for a lambda.
func (p *Program) params(frame starlark.CallFrame) []string {
	f := p.files[frame.Pos.Filename()]
	if f == nil {
		return nil
	}
	var params []string
	syntax.Walk(f.tree, func(n syntax.Node) bool {
		def, ok := n.(*syntax.DefStmt)
		if !ok || def.Name.Name != frame.Name {
			return true
		}
		params = nil
		for _, param := range def.Params {
			switch param := param.(type) {
			case *syntax.Ident:
				params = append(params, param.Name)
			case *syntax.BinaryExpr:
				params = append(params, param.X.(*syntax.Ident).Name)
			}
		}
		return true
	})
	return params
}
