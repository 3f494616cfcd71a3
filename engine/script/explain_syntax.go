package script

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// clue is a mistake that the parser found, with what stands around it.
type clue struct {
	file        *file
	predeclared starlark.StringDict
	hints       map[string]string // Options.Hints
	message     string
	tokens      []token
	at          int // index of the token the parser stumbled on; len(tokens) at the end of the file
}

// explainSyntax turns the parser's error into a problem that points at the token in question and says what to write.
func explainSyntax(f *file, err error, predeclared starlark.StringDict, hints map[string]string) Problem {
	wrong := syntax.Error{Pos: syntax.MakePosition(&f.name, 1, 1), Msg: err.Error()}
	errors.As(err, &wrong)
	c := &clue{file: f, predeclared: predeclared, hints: hints, message: wrong.Msg, tokens: lex(f.source)}
	found := c.find(place{wrong.Pos.Line, wrong.Pos.Col})
	p := Problem{Pos: wrong.Pos, Message: strings.Replace(wrong.Msg, "primary expression", "an expression", 1)}
	if found || c.token(0).kind == numberToken { // of a number, the parser gives the place where it stopped reading
		start := c.token(0).start
		p.Pos.Line, p.Pos.Col = start.line, start.col
	}
	for _, rule := range []func(*clue) (message, hint string){
		reservedWord, shellScript, statementWord, literalMistake, unknownSymbol, missingPunctuation, unclosedBracket, indentation,
	} {
		if message, hint := rule(c); hint != "" {
			if message != "" {
				p.Message = message
			}
			p.Hint = hint
			break
		}
	}
	return p
}

// behind matches the messages for which the parser gives the end of the token it looks at.
var behind = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^got |^not an identifier|^load operand|^original name|^first operand|^keyword argument|does not associate`)
})

// find sets c.at and reports whether a token was found at the position that the parser gave. The parser reports where
// the token it looks at starts, or, when it wants another one in its place, where that token ends.
func (c *clue) find(pos place) bool {
	if c.got("end of file") {
		c.at = len(c.tokens)
		return false
	}
	starts := !behind().MatchString(c.message) || c.got("indent") || c.got("outdent") || c.want("primary expression")
	for i, t := range c.tokens {
		if starts && t.start == pos || !starts && t.end == pos {
			c.at = i
			return true
		}
	}
	for i, t := range c.tokens {
		if t.start.line > pos.line || t.start.line == pos.line && (t.end.line > pos.line || t.end.col >= pos.col) {
			c.at = i // within this token, or before it
			return false
		}
	}
	c.at = len(c.tokens)
	return false
}

// token returns the token n places after the one the parser stumbled on, or an empty newline where there is none.
func (c *clue) token(n int) token {
	if i := c.at + n; 0 <= i && i < len(c.tokens) {
		return c.tokens[i]
	}
	return token{kind: newlineToken}
}

// line returns the tokens of the statement's line up to the one the parser stumbled on, and the index of the first.
func (c *clue) line() []token {
	first := min(c.at, len(c.tokens))
	for first > 0 && c.tokens[first-1].kind != newlineToken {
		first--
	}
	return c.tokens[first:min(c.at, len(c.tokens))]
}

// got and want say what the parser's message says.
func (c *clue) got(what string) bool  { return strings.HasPrefix(c.message, "got "+what+",") }
func (c *clue) want(what string) bool { return strings.HasSuffix(c.message, ", want "+what) }

// reserved holds the words that Starlark keeps from Python without using them, and what to write instead.
var reserved = map[string]string{
	"as":       "name a value with =, as in x = f()",
	"async":    "calls wait for what they do; leave it out",
	"await":    "calls wait for what they do; leave it out",
	"class":    "struct(a = 1, b = 2) makes a value with fields, and def makes functions",
	"del":      "d.pop(key) removes an entry of a dict, l.pop(i) one of a list",
	"except":   "a failure ends the script; ask the call itself not to fail, and look at its result",
	"finally":  "whatever a script leaves open is closed when it ends",
	"from":     `load("lib/x.star", "f") takes a name from another file`,
	"global":   "a function can't assign globals; return the value instead",
	"import":   `load("lib/x.star", "f") takes a name from another file; json, math and time are there already`,
	"is":       "compare with == or !=, also with None",
	"nonlocal": "a function assigns only its own variables; return the value, or change a list or dict in place",
	"raise":    `fail("message") ends the script with an error`,
	"try":      "a failure ends the script; ask the call itself not to fail, and look at its result",
	"with":     "call the function by itself, as in x = f(); what a script opens is closed when it ends",
	"yield":    "return a list",
}

// reservedWord explains Python's words, and Starlark's own used as names.
func reservedWord(c *clue) (message, hint string) {
	word, next := c.token(0).text, c.token(1).text
	advice, ok := reserved[word]
	isName := c.token(-1).text == "." || next == "="
	if !ok && !(isName && c.token(0).kind == wordToken && syntaxKeywords[word]) {
		return "", ""
	}
	message = fmt.Sprintf("%q is a reserved word", word)
	switch {
	case c.token(-1).text == "." && c.token(-1).kind == symbolToken:
		hint = fmt.Sprintf("read a field of that name with getattr(value, %q)", word)
	case next == "(" && c.predeclared.Has(word+"_"):
		hint = fmt.Sprintf("write %s_(…)", word)
	case next == "=" || c.token(-1).text == "def" || !ok:
		hint = fmt.Sprintf("write %s_, as Starlark keeps %s for itself", word, word)
	case c.hints[word] != "":
		hint = c.hints[word]
	default:
		hint = advice
	}
	return message, hint
}

var syntaxKeywords = map[string]bool{
	"and": true, "break": true, "continue": true, "def": true, "elif": true, "else": true, "for": true, "if": true, "in": true,
	"lambda": true, "load": true, "not": true, "or": true, "pass": true, "return": true, "while": true,
}

// shellScript recognizes what is no Starlark at all.
func shellScript(c *clue) (message, hint string) {
	first, _, _ := strings.Cut(string(c.file.source), "\n")
	if strings.HasPrefix(first, "#!") && strings.HasSuffix(strings.Fields(first + " x")[0], "sh") {
		return "", "the first line says that this is a shell script; rlbuild runs Starlark"
	}
	return "", ""
}

// statementWord explains lines that start with a word as in other languages: print x, assert x, else if, RUN x.
func statementWord(c *clue) (message, hint string) {
	line := c.line()
	if len(line) == 0 || line[0].kind != wordToken {
		return "", ""
	}
	word := line[0].text
	if word == "else" && c.token(0).text == "if" {
		return "", "write elif"
	}
	if len(line) != 1 || !c.want("newline") {
		return "", ""
	}
	if word == "assert" {
		return "", `if not condition: fail("message")`
	}
	for _, dict := range []starlark.StringDict{c.predeclared, starlark.Universe} {
		for _, name := range dict.Keys() {
			if _, callable := dict[name].(starlark.Callable); callable && string(fold(name)) == string(fold(word)) {
				return "", fmt.Sprintf("%s is a function: write %s(…)", name, name)
			}
		}
	}
	return "", ""
}

// literalMistake explains strings and numbers that Starlark writes otherwise.
func literalMistake(c *clue) (message, hint string) {
	before, here := c.token(-1), c.token(0)
	switch {
	case here.kind == stringToken && before.kind == wordToken && before.end == here.start:
		if strings.Trim(strings.ToLower(before.text), "frb") == "" {
			return "", `there are no f-strings; write "text %s" % value or "text {}".format(value)`
		}
	case c.got("string literal") && before.kind == stringToken:
		return "", "strings side by side are not joined; put a comma between two items, or a + to join them"
	case strings.HasPrefix(c.message, "unexpected newline in string"):
		return "", `close the string on its line, or write """ around text of several lines`
	case strings.HasPrefix(c.message, "unexpected EOF in string"):
		return "the string that starts here is never closed", "write the same quotes at its end"
	case strings.HasPrefix(c.message, "obsolete form of octal literal; use "):
		message, use, _ := strings.Cut(c.message, "; use ")
		return message, "write " + use
	case strings.HasPrefix(c.message, "invalid escape sequence "):
		return "", `write \\ for a backslash, or r"…" around text that holds them`
	}
	return "", ""
}

// unknownSymbol explains operators of other languages.
func unknownSymbol(c *clue) (message, hint string) {
	before, here, next := c.token(-1).text, c.token(0).text, c.token(1).text
	switch {
	case here == "!":
		return "", "write not x, or x != y"
	case c.token(0).kind == symbolToken && here == next && (here == "&" || here == "|"),
		c.token(0).kind == symbolToken && here == before && (here == "&" || here == "|"):
		return "", map[string]string{"&": "write and", "|": "write or"}[here]
	case here == "**":
		return "", "math.pow(x, y) raises to a power"
	case here == "@":
		return "", "there are no decorators; write f = decorate(f) under another name"
	case here == "$":
		return "", `a script's values have names without $; "%s" % name puts one into text`
	case here == "`" || here == "?":
		return "", "this character has no meaning outside of strings"
	case before == "+" && here == "+", before == "-" && here == "-", (before == "++" || before == "--"),
		c.token(0).kind == newlineToken && (before == "+" || before == "-") && c.token(-2).text == before:
		return "", "write x += 1 inside a function"
	case here == ":" && next == "=":
		return "", "assign on a line of its own, with ="
	case c.got("'-'") && next == ">", here == ">" && before == "-":
		return "", "there are no type annotations; leave them out"
	case strings.Contains(c.message, "does not associate with"):
		return "", "compare twice: a < b and b < c"
	}
	return "", ""
}

// missingPunctuation explains a wrong or missing token between the right ones.
func missingPunctuation(c *clue) (message, hint string) {
	switch {
	case c.got("newline") && c.want("':'"):
		return "", "the line lacks a : at its end"
	case c.got("'='") && c.want("':'"):
		return "", "= assigns; == compares"
	case c.got("'='") && c.want("newline"):
		return "", "assign one name at a time"
	case c.got("for") && (c.want("')'") || c.want("','")):
		return "", "there are no generators; write [x for x in y]"
	case (c.got("','") || c.got("'}'")) && c.want("':'"):
		return "", "a dict is written {key: value}; set([a, b]) makes a set"
	case c.got("':'") && (c.want("newline") || c.want("')'") || c.want("','")):
		if c.token(-1).kind == wordToken && c.token(1).kind == wordToken {
			return "", "there are no type annotations; leave them out"
		}
	case strings.HasPrefix(c.message, "conditional expression without else"):
		return "", "write a if condition else b"
	case strings.HasPrefix(c.message, "first operand of load"):
		return "", `load("lib/x.star", "f") takes its names as strings, not as expressions`
	case strings.HasPrefix(c.message, "load statement must import"):
		return "", `name what to load: load("lib/x.star", "f")`
	case strings.HasPrefix(c.message, "unparenthesized tuple"):
		return "", "leave the last comma out, or put the tuple in parentheses"
	}
	return "", ""
}

// unclosedBracket finds the bracket that is still open where the parser gave up.
func unclosedBracket(c *clue) (message, hint string) {
	var open []token
	for _, t := range c.tokens[:min(c.at, len(c.tokens))] {
		switch t.text {
		case "(", "[", "{":
			open = append(open, t)
		case ")", "]", "}":
			open = open[:max(0, len(open)-1)]
		}
	}
	if len(open) == 0 || !strings.HasPrefix(c.message, "got ") {
		switch c.message {
		case "unexpected ')'", "unexpected ']'", "unexpected '}'":
			return "", "no bracket is open here"
		}
		return "", ""
	}
	last := open[len(open)-1]
	never := fmt.Sprintf("the %s at %s:%d:%d is never closed", last.text, c.file.name, last.start.line, last.start.col)
	here := c.token(0)
	switch {
	case c.at >= len(c.tokens) || c.got("end of file"):
		return "", never
	case last.start.line < here.start.line && c.token(-1).kind == newlineToken:
		return "", fmt.Sprintf("a comma is missing before this line, or %s", never)
	case here.kind == wordToken || here.kind == stringToken || here.kind == numberToken:
		return "", fmt.Sprintf("a comma is missing before %s, or %s", here.text, never)
	}
	return "", ""
}

// indentation explains blocks.
func indentation(c *clue) (message, hint string) {
	switch {
	case strings.HasPrefix(c.message, "got indent,"):
		return "unexpected indentation", "start the line below the one before, as no block begins here"
	case c.want("indent"):
		return "", "indent the lines of the block; an empty block is written pass"
	case strings.HasPrefix(c.message, "unindent does not match"):
		if strings.Contains(string(c.file.source), "\t") {
			return "", "the file has tabs; indent with spaces only"
		}
		return "", "start the line below a line of the block it belongs to"
	}
	return "", ""
}
