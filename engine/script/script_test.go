package script

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine/failure"
)

type builtin = func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error)

// predeclared returns builtins for tests: names that do nothing, a comparison, a refusal and a panic.
func predeclared(t testing.TB) starlark.StringDict {
	dict := starlark.StringDict{}
	def := func(name string, f builtin) { dict[name] = starlark.NewBuiltin(name, f) }
	for _, name := range []string{"from_", "mount", "run", "path", "commit", "config", "copy", "arg"} {
		def(name, func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			return starlark.None, nil
		})
	}
	def("eq", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		if same, err := starlark.Equal(args[0], args[1]); err != nil || !same {
			t.Errorf("%s: %s is not %s: %v", Caller(thread), args[0], args[1], err)
		}
		return starlark.None, nil
	})
	def("refuse", func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		subject, _ := starlark.AsString(args[0])
		return nil, failure.New("refuse", subject, "not today").WithHint("come back tomorrow")
	})
	def("explode", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		panic("boom")
	})
	return dict
}

// write makes a directory of files and returns it.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// options returns the options of a script that main.star in dir holds, shown under its short name.
func options(t testing.TB, dir string) Options {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(dir, "main.star"))
	if err != nil {
		t.Fatal(err)
	}
	return Options{Path: "main.star", Dir: dir, Source: source, Predeclared: predeclared(t)}
}

// run parses and runs options and returns what was printed.
func run(t testing.TB, opts Options) (printed string, err error) {
	t.Helper()
	var lines []string
	opts.Print = func(line string) { lines = append(lines, line) }
	p, err := Parse(opts)
	if err != nil {
		return "", err
	}
	err = p.Run(t.Context())
	return strings.Join(lines, "\n"), err
}

func TestTextErrors(t *testing.T) {
	for _, file := range []string{"syntax.star", "resolve.star"} {
		for _, c := range readChunks(t, file) {
			_, err := Parse(Options{
				Path: "test.star", Dir: "testdata", Source: []byte(c.source), Predeclared: predeclared(t),
				Hints: map[string]string{"open": `path("x").read() reads a file`, "try": "ask with check = False"},
			})
			var problems Problems
			if err != nil && !errors.As(err, &problems) {
				t.Errorf("%s: %v is not Problems", c.name, err)
			}
			if err != nil && failure.Status(err) != 2 {
				t.Errorf("%s: exit status %d, want 2", c.name, failure.Status(err))
			}
			for _, p := range problems {
				c.got(t, int(p.Pos.Line), p.Message, p.Hint)
				if strings.Contains(p.Message, "did you mean") {
					t.Errorf("%s: the message holds its hint: %s", c.name, p.Message)
				}
			}
			c.done(t)
		}
	}
}

func TestRunErrors(t *testing.T) {
	for _, c := range readChunks(t, "eval.star") {
		p, err := Parse(Options{Path: "test.star", Dir: "testdata", Source: []byte(c.source), Predeclared: predeclared(t)})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if err = p.Run(t.Context()); err != nil {
			var failed *Error
			if !errors.As(err, &failed) || len(failed.Frames) == 0 {
				t.Fatalf("%s: %v has no frames", c.name, err)
			}
			if failure.Status(err) != 1 {
				t.Errorf("%s: exit status %d, want 1", c.name, failure.Status(err))
			}
			line := int(failed.Frames[len(failed.Frames)-1].Pos.Line)
			c.got(t, line, failed.Error(), failure.HintOf(err))
		}
		c.done(t)
	}
}

// TestColumns holds the positions that differ from those of the parser: it points behind the token in question.
func TestColumns(t *testing.T) {
	for source, want := range map[string]string{
		"x = from(1)":             "1:5",
		"x.from":                  "1:3",
		"def from(): pass":        "1:5",
		"f(1, from = 2)":          "1:6",
		"x = 1 == 2 == 3":         "1:12",
		"f(abc déf)":              "1:7",
		"f(é déf)":                "1:5",
		"f(1,\r\n  2 3)":          "2:5",
		"def f()\n  pass":         "1:8",
		"x = 12 34":               "1:8",
		"x = 0755":                "1:5",
		"x = 'a'  'b'":            "1:10",
		"x = 1\ny = \"\"\"a\n\nb": "2:5",
		"x = [1,\n2":              "2:2",
		"\ufeffx = from(1)":       "1:5",
		"x = 2\n\x00y = 3":        "2:1",
		"x = '\xff'":              "1:6",
		"load('a', 'b', c)":       "1:17",
		"x = a //= b":             "1:7",
	} {
		_, err := Parse(Options{Path: "a.star", Source: []byte(source), Predeclared: predeclared(t)})
		var problems Problems
		if !errors.As(err, &problems) {
			t.Errorf("%q: got error %v, want problems", source, err)
		} else if got := problems[0].Error(); !strings.HasPrefix(got, "a.star:"+want+": ") {
			t.Errorf("%q: got %s, want position %s", source, got, want)
		}
	}
}

func TestProblemsOfSeveralFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"main.star":  `load("lib/a.star", "a")` + "\nprint(rnu)\nprint(mout)\n",
		"lib/a.star": `load("b.star", "b")` + "\na = 1\nif a: print(a)\nfor b in a: pass\n",
		"lib/b.star": "x = (1\n",
	})
	_, err := Parse(options(t, dir))
	const want = `main.star:2:7: undefined: rnu
main.star:3:7: undefined: mout
lib/a.star:3:1: if statement not within a function
lib/a.star:4:1: for loop not within a function
lib/a.star:4:5: b has a value already, from lib/a.star:1:17
  loaded at main.star:1:6
lib/b.star:2:1: got end of file, want ')'
  loaded at lib/a.star:1:6
  loaded at main.star:1:6`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if hint := failure.HintOf(err); hint != "did you mean run?" {
		t.Errorf("got hint %q", hint)
	}
}

func TestUnreadableScript(t *testing.T) {
	dir := write(t, map[string]string{"demo.star": "", "other/x.star": ""})
	for name, want := range map[string]string{
		"demo":      "did you mean " + filepath.Join(dir, "demo.star") + "?",
		"dmeo.star": "did you mean " + filepath.Join(dir, "demo.star") + "?",
		"zzzzzzzz":  "a script is a file",
		"other":     "",
	} {
		_, err := Parse(Options{Path: filepath.Join(dir, name)})
		if err == nil || !strings.Contains(err.Error(), "reading "+filepath.Join(dir, name)+": ") {
			t.Errorf("%s: got error %v", name, err)
		}
		if hint := failure.HintOf(err); !strings.HasPrefix(hint, want) || want == "" && hint != "" {
			t.Errorf("%s: got hint %q, want %q", name, hint, want)
		}
		if failure.Status(err) != 2 {
			t.Errorf("%s: got exit status %d, want 2", name, failure.Status(err))
		}
	}
}

func TestDoc(t *testing.T) {
	for source, want := range map[string]string{
		"":                               "",
		"x = 1":                          "",
		`"""One."""`:                     "One.",
		"#!/usr/bin/env rlbuild\n'Two.'": "Two.",
		"\"\"\"A.\n\n    B\n      C\n    D\n    \"\"\"\nx = 1": "A.\n\nB\n  C\nD",
		`b"bytes"`: "",
		`1`:        "",
	} {
		p, err := Parse(Options{Path: "-", Source: []byte(source)})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Doc(); got != want {
			t.Errorf("%q: got %q, want %q", source, got, want)
		}
	}
}

func textOf(c Call, name string) string {
	text, _ := c.Text(name)
	return text
}

func TestCalls(t *testing.T) {
	p, err := Parse(Options{Path: "-", Predeclared: predeclared(t), Source: []byte(`
RELEASE = "book" + "worm"
a = arg("release", default = RELEASE, help = "Debian" + " release")
def f(x):
    return arg("in_f", default = x, many = [1, -2, (True, None)], table = {"k": 1.5})
b = run(arg("nested", default = len("x")))
c = [arg(name) for name in ["p", "q"]]
def g(arg):
    return arg("shadowed")
d = arg(*["rest"], **{"default": 1})
`)})
	if err != nil {
		t.Fatal(err)
	}
	calls := p.Calls("arg")
	if len(calls) != 5 {
		t.Fatalf("got %d calls, want 5: %v", len(calls), calls)
	}
	first := calls[0]
	if got := first.Pos.String(); got != "-:3:5" {
		t.Errorf("got position %s", got)
	}
	if first.Args[0] != starlark.String("release") || first.Kwargs["default"] != starlark.String("bookworm") ||
		first.Kwargs["help"] != starlark.String("Debian release") || textOf(first, "default") != "RELEASE" {
		t.Errorf("got %+v", first)
	}
	second := calls[1]
	if value, ok := second.Kwargs["default"]; value != nil || !ok || textOf(second, "default") != "x" {
		t.Errorf("got default %v (%t), want an unknown value", value, ok)
	}
	if got := second.Kwargs["many"].String(); got != "[1, -2, (True, None)]" {
		t.Errorf("got many %s", got)
	}
	if got := second.Kwargs["table"].String(); got != `{"k": 1.5}` {
		t.Errorf("got table %s", got)
	}
	if textOf(calls[2], "default") != `len("x")` || calls[2].Kwargs["default"] != nil {
		t.Errorf("got %+v", calls[2])
	}
	if calls[3].Args[0] != nil {
		t.Errorf("got %v, want an unknown value", calls[3].Args)
	}
	if len(calls[4].Args) != 0 || len(calls[4].Kwargs) != 0 {
		t.Errorf("got %+v, want nothing of *args and **kwargs", calls[4])
	}
	if calls := p.Calls("f"); calls != nil {
		t.Errorf("got calls of a function that isn't predeclared: %v", calls)
	}
}

// TestCallsOfHostileTexts holds that what is known without running takes little, whatever the text has: --help of any script
// must be safe.
func TestCallsOfHostileTexts(t *testing.T) {
	var sums, pairs, keys, long strings.Builder
	for i := range 60 {
		fmt.Fprintf(&sums, "a%d = a%d + a%d\n", i+1, i, i)
		fmt.Fprintf(&pairs, "a%d = [a%d, a%d]\n", i+1, i, i)
		fmt.Fprintf(&keys, "a%d = (a%d, a%d)\n", i+1, i, i)
	}
	for i := range 20_000 {
		fmt.Fprintf(&long, "b%d = a10 + a10\n", i)
		fmt.Fprintf(&long, "arg('n%d', default = b%d)\n", i, i)
	}
	const depth = 70 // more is refused
	for name, source := range map[string]string{
		"sums":     "a0 = 'x'\n" + sums.String() + "arg('n', default = a60, help = a10)",
		"lists":    "a0 = ['x']\n" + sums.String() + "arg('n', default = a60)",
		"pairs":    "a0 = []\n" + pairs.String() + "arg('n', default = a60)",
		"keys":     "a0 = ()\n" + keys.String() + "arg('n', default = {a60: 1})",
		"many":     "a0 = 'x'\n" + sums.String() + long.String(),
		"one line": strings.Repeat("arg('n', default = 'é');", 30_000),
		"nested":   strings.Repeat("arg('n', default = ", depth) + "1" + strings.Repeat(")", depth),
	} {
		p, err := Parse(Options{Path: "-", Predeclared: predeclared(t), Source: []byte(source)})
		if err != nil {
			t.Fatal(name, err)
		}
		before, start := sample(everAllocated), time.Now()
		for _, call := range p.Calls("arg") {
			if len(textOf(call, "default")) > maxText {
				t.Errorf("%s: a text is too long", name)
			}
		}
		if size, took := sample(everAllocated)-before, time.Since(start); size > 1<<30 || took > 20*time.Second {
			t.Errorf("%s: took %d MiB and %v", name, size>>20, took)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"run", "remove", "from_", "mount", "umount", "commit", "config"}
	for name, want := range map[string]string{
		"rnu": "run", "FROM": "from_", "mnt": "", "mout": "mount", "comit": "commit", "confg": "config", "": "", "x": "", "docker": "", "rn": "run", "rm": "",
	} {
		if got := Nearest(name, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
