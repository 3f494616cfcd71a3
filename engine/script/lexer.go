package script

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind is what the hints need to know about a token.
type tokenKind int

const (
	wordToken    tokenKind = iota // names and keywords
	numberToken                   // numbers, roughly
	stringToken                   // with its quotes; to the end of the line when it is never closed
	symbolToken                   // an operator or bracket, or any other character
	newlineToken                  // the end of a line that holds a token, also within brackets
)

// token is a piece of source text.
type token struct {
	kind       tokenKind
	text       string
	start, end place
}

// place is a position in a source as Starlark counts: from 1, in characters.
type place struct{ line, col int32 }

func (p place) before(q place) bool { return p.line < q.line || p.line == q.line && p.col < q.col }

// lexer splits a source into tokens. The parser stops at the first mistake, names it in terms of its grammar and often
// points behind it; what stands around that place tells what was meant. Unlike Starlark's own scanner, which isn't
// exported, it takes any text.
type lexer struct {
	rest   string
	at     place
	tokens []token
}

// lex returns the tokens of source, without comments and blank lines.
func lex(source []byte) []token {
	l := &lexer{rest: string(source), at: place{1, 1}}
	for l.rest != "" {
		l.next()
	}
	return l.tokens
}

// advance moves over the next n bytes, which are whole characters.
func (l *lexer) advance(n int) {
	for text := l.rest[:n]; text != ""; {
		r, size := utf8.DecodeRuneInString(text)
		if r == '\r' && strings.HasPrefix(text[size:], "\n") {
			size++
		}
		if r == '\n' || r == '\r' {
			l.at = place{l.at.line + 1, 1}
		} else {
			l.at.col++
		}
		text = text[size:]
	}
	l.rest = l.rest[n:]
}

// emit adds a token that is the next n bytes.
func (l *lexer) emit(kind tokenKind, n int) {
	t := token{kind: kind, text: l.rest[:n], start: l.at}
	l.advance(n)
	t.end = l.at
	l.tokens = append(l.tokens, t)
}

func (l *lexer) next() {
	switch r, size := utf8.DecodeRuneInString(l.rest); {
	case r == '#':
		if n := strings.IndexAny(l.rest, "\r\n"); n >= 0 {
			l.advance(n)
		} else {
			l.advance(len(l.rest))
		}
	case r == '\n' || r == '\r':
		if strings.HasPrefix(l.rest, "\r\n") {
			size = 2
		}
		if len(l.tokens) == 0 || l.tokens[len(l.tokens)-1].kind == newlineToken {
			l.advance(size)
		} else {
			l.emit(newlineToken, size)
		}
	case r == ' ' || r == '\t' || r == '\\':
		l.advance(size)
	case r == '"' || r == '\'':
		l.emit(stringToken, stringLen(l.rest))
	case isWordStart(r):
		n := wordLen(l.rest)
		switch l.rest[:n] {
		case "r", "b", "rb":
			if n < len(l.rest) && (l.rest[n] == '"' || l.rest[n] == '\'') {
				l.emit(stringToken, n+stringLen(l.rest[n:]))
				return
			}
		}
		l.emit(wordToken, n)
	case '0' <= r && r <= '9':
		l.emit(numberToken, wordLen(l.rest))
	default:
		for _, operator := range operators {
			if strings.HasPrefix(l.rest, operator) {
				size = len(operator)
				break
			}
		}
		l.emit(symbolToken, size)
	}
}

// operators are Starlark's tokens of more than one character, longest first.
var operators = []string{
	"//=", "<<=", ">>=",
	"//", "<<", ">>", "**", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
}

// isWordStart accepts what Starlark accepts.
func isWordStart(r rune) bool { return r == '_' || unicode.IsLetter(r) }

func wordLen(text string) int {
	for i, r := range text {
		if !isWordStart(r) && (r < '0' || r > '9') {
			return i
		}
	}
	return len(text)
}

// stringLen returns the length of the string literal that text starts with, without a prefix.
func stringLen(text string) int {
	quote := text[:1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(text, long) {
		quote = long
	}
	for i := len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			_, size := utf8.DecodeRuneInString(text[i+1:])
			if strings.HasPrefix(text[i+1:], "\r\n") {
				size = 2
			}
			i += size
		case strings.HasPrefix(text[i:], quote):
			return i + len(quote)
		case len(quote) == 1 && (text[i] == '\n' || text[i] == '\r'):
			return i
		}
	}
	return len(text)
}

// lineCol returns the position of the byte at offset i of source.
func lineCol(source []byte, i int) (line, col int32) {
	l := lexer{rest: string(source), at: place{1, 1}}
	l.advance(i)
	return l.at.line, l.at.col
}

// mark is where a place is in a source.
type mark struct {
	at     place
	offset int
}

// between is how far marks are apart, in bytes.
const between = 256

// marks returns places to start from when others are looked for: counting from the beginning each time takes too long.
func marks(source []byte) []mark {
	l := lexer{rest: string(source), at: place{1, 1}}
	all := []mark{{l.at, 0}}
	for l.rest != "" {
		l.character()
		if at := len(source) - len(l.rest); at >= all[len(all)-1].offset+between {
			all = append(all, mark{l.at, at})
		}
	}
	return all
}

// character moves over one character; "\r\n" is one.
func (l *lexer) character() {
	_, size := utf8.DecodeRuneInString(l.rest)
	if strings.HasPrefix(l.rest, "\r\n") {
		size = 2
	}
	l.advance(size)
}

// offset returns the offset in source, which has these marks, of a position, at most len(source).
func offset(source []byte, marks []mark, line, col int32) int {
	want := place{line, col}
	after := sort.Search(len(marks), func(i int) bool { return want.before(marks[i].at) })
	start := marks[max(after-1, 0)]
	end := min(start.offset+2*between, len(source)) // the next mark is nearer
	l := lexer{rest: string(source[start.offset:end]), at: start.at}
	for l.rest != "" && l.at.before(want) {
		l.character()
	}
	return end - len(l.rest)
}
