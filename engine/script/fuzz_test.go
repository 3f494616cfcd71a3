package script

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// FuzzParse holds that Parse takes any text, and that what it reports lies in the text.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"syntax.star", "resolve.star", "eval.star"} {
		data, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		for text := range strings.SplitSeq(string(data), "\n---\n") {
			f.Add(text)
		}
	}
	f.Add("x = 1\r\n\r\ny = (\r\n'\\\r\n'")
	f.Add("\ufeff#!/bin/sh\nset -e")
	doubled := "a0 = 'x'\nb0 = ()\n"
	for i := range 40 {
		doubled += fmt.Sprintf("a%d = a%d + a%d\nb%d = (b%d, b%d)\n", i+1, i, i, i+1, i, i)
	}
	f.Add(doubled + "arg('n', default = a40, help = [{b40: a9}])")
	dir := f.TempDir()
	names := predeclared(f)
	f.Fuzz(func(t *testing.T, source string) {
		p, err := Parse(Options{Path: "f.star", Dir: dir, Source: []byte(source), Predeclared: names})
		if err == nil {
			p.Doc()
			for _, call := range p.Calls("arg") {
				if text, ok := call.Text("default"); ok && !strings.Contains(source, text) {
					t.Errorf("%q isn't in the text", text)
				}
			}
			return
		}
		lines := strings.Count(source, "\n") + strings.Count(source, "\r") + 1
		var problems Problems
		if !errors.As(err, &problems) {
			t.Fatalf("%v is not Problems", err)
		}
		for _, p := range problems {
			if p.Pos.Line < 1 || p.Pos.Col < 1 || int(p.Pos.Line) > lines || p.Message == "" {
				t.Errorf("%+v: outside of the text", p)
			}
			if strings.Contains(p.Message, "internal error") {
				t.Error(p)
			}
		}
	})
}

// FuzzLexer holds that tokens are pieces of the text, in order, and that positions and offsets agree.
func FuzzLexer(f *testing.F) {
	f.Add("x = \"a\\\r\nb\" # c\r\n'''é''' //= r'\\'")
	f.Fuzz(func(t *testing.T, source string) {
		last, index := place{1, 1}, marks([]byte(source))
		for _, token := range lex([]byte(source)) {
			if token.start.line < last.line || token.start.line == last.line && token.start.col < last.col || token.text == "" {
				t.Fatalf("token %+v overlaps the one before, which ends at %v", token, last)
			}
			if at := offset([]byte(source), index, token.start.line, token.start.col); !strings.HasPrefix(source[at:], token.text) {
				t.Fatalf("token %+v is not at offset %d", token, at)
			}
			last = token.end
		}
	})
}

// TestLargeSources holds that the largest text of each shape that makes a tree as deep as it is long is parsed, or refused,
// within Go's stack, which nothing recovers from when it overflows.
func TestLargeSources(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, shape := range []struct{ start, again, end string }{
		{"x = 1", "+1", ""},
		{"x = y", ".b", ""},
		{"x = y", "()", ""},
		{"x = ", "(", ""},
		{"x = ", "-", "1"},
		{"", "x=1\n", ""},
		{"", "y\n", ""},
	} {
		n := (MaxSource - len(shape.start) - len(shape.end)) / len(shape.again)
		source := shape.start + strings.Repeat(shape.again, n) + shape.end
		p, err := Parse(Options{Path: "a.star", Source: []byte(source)})
		var problems Problems
		if p == nil && (!errors.As(err, &problems) || len(problems) > maxProblems) {
			t.Errorf("%q: %d problems, %.100v", shape.again, len(problems), err)
		}
	}
}

// FuzzRun runs any script, with little to spend. It ends, not by a bug, and what it prints is what Starlark itself has it print:
// the operations that ask for memory change nothing else.
func FuzzRun(f *testing.F) {
	for _, source := range []string{
		"x = [1] * 3\nx *= 2\nprint(x, 'ab' * 2, 3 * (1,), 2 * 3, 'aXb'.replace('X', 'yy'), b'a' * 2)",
		"def f(a = 2 * 2, *b, **c):\n  a *= 2\n  return [i * j for i in range(a) for j in [i * 2] if i * 1]\nprint(f(), (lambda x = 3 * 3: x * x)())",
		"d = {'a' * 2: [1 * 2]}\nd['aa'][0] *= 5\nprint(d, getattr('x', 'replace')('x', 'y'), [x * 2 for x in list(range(3))][1 * 1:])",
		"print(sorted(zip(range(3), reversed(range(3)))), tuple(enumerate('ab'.elems())), bytes([65]), json.encode({'a': 1.5}))",
		"x = 'a' * 'b'", "x = [] * -1\nx = 'x'\nx.replace(1)\n", "x = 1\nx.replace(1)", "print('a b'.split(), 'a,b,c'.rsplit(',', 1), 'a\\nb'.splitlines(True))\n1 .split()",
		"x = ('a' * 5000).split('a')\nprint(json.decode('[', default = 1))\ny = list(range(1 << 40))", "if 1 * 1:\n  for i in 2 * [1]: i *= 2\nload('x', 'y')",
	} {
		f.Add(source)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, source string) {
		var printed []string
		p, err := Parse(Options{Path: "f.star", Dir: dir, Source: []byte(source), Limits: Limits{Steps: 20_000, Memory: 512 << 20},
			Print: func(line string) { printed = append(printed, line) }})
		if err != nil {
			return
		}
		err = p.Run(t.Context())
		if err != nil && strings.Contains(err.Error(), "internal error") {
			t.Fatal(err)
		}
		if limit := exceeded(""); errors.As(err, &limit) {
			return // plain Starlark has none, and would take whatever the machine has
		}
		var want []string
		thread := &starlark.Thread{Print: func(_ *starlark.Thread, line string) { want = append(want, line) }}
		_, plain := starlark.ExecFileOptions(&syntax.FileOptions{Set: true, TopLevelControl: true}, thread, "f.star", bytes.TrimPrefix([]byte(source), []byte("\ufeff")), Universe())
		if (plain == nil) != (err == nil) || !slices.Equal(printed, want) && !strings.Contains(source, "time") {
			t.Errorf("printed %q, %v; want %q, %v", printed, err, want, plain)
		}
	})
}
