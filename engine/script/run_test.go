package script

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// trace returns an error's frames, one a line.
func trace(err error) string {
	var lines []string
	if failed := (*Error)(nil); errors.As(err, &failed) {
		for _, f := range failed.Frames {
			lines = append(lines, fmt.Sprintf("at %s in %s", f.Pos, f.Name))
		}
	}
	return strings.Join(lines, "\n")
}

func TestLoad(t *testing.T) {
	dir := write(t, map[string]string{
		"main.star": `load("lib/a.star", "a", again = "name")
load("//lib/deep/b.star", "b", "counter")
load("other.star", _ = "o")
print(a(), b, again, counter)
`,
		"lib/a.star":      "load(\"deep/b.star\", \"b\")\nname = \"a\"\n_private = b + 1\ndef a(): return _private\nprint(\"loading a\")\n",
		"lib/deep/b.star": "load(\"../../other.star\", \"o\")\nb = o + 1\ncounter = [0]\nprint(\"loading b\")\n",
		"other.star":      "o = 1\nprint(\"loading other\")\n",
	})
	printed, err := run(t, options(t, dir))
	if err != nil {
		t.Fatal(err, trace(err))
	}
	if want := "loading other\nloading b\nloading a\n3 2 a [0]"; printed != want {
		t.Errorf("got %q, want %q", printed, want)
	}
}

func TestLoadErrors(t *testing.T) {
	files := map[string]string{
		"main.star":       "",
		"lib/a.star":      "load(\"b.star\", \"b\")\ndef install(): pass\ndef remove_all(): pass\n_hidden = 1\n",
		"lib/b.star":      "b = 1\n",
		"lib/empty.star":  "",
		"lib/wrong.star":  "load(\"lib/b.star\", \"b\")\n",
		"cycle/x.star":    "load(\"y.star\", \"y\")\nx = 1\n",
		"cycle/y.star":    "load(\"//cycle/x.star\", \"x\")\ny = 1\n",
		"cycle/self.star": "load(\"self.star\", \"x\")\n",
		"cycle/main.star": "load(\"../main.star\", \"x\")\n",
		"binary":          "\x7fELF\x00",
	}
	for _, test := range []struct{ statement, position, message, hint string }{
		{`load("lib/c.star", "b")`, "main.star:1:6", `load "lib/c.star": reading lib/c.star: no such file or directory`, `did you mean "lib/`},
		{`load("lib/a", "b")`, "main.star:1:6", `reading lib/a: no such file`, `did you mean "lib/a.star"?`},
		{`load("//lib/empt.star", "b")`, "main.star:1:6", `reading lib/empt.star`, `did you mean "//lib/empty.star"?`},
		{`load("lib", "b")`, "main.star:1:6", "reading lib: is a directory", ""},
		{`load("nowhere/a.star", "b")`, "main.star:1:6", "reading nowhere/a.star: no such file", ""},
		{`load("lib/wrong.star", "b")`, "lib/wrong.star:1:6", "reading lib/lib/b.star", `did you mean "//lib/b.star"?`},
		{`load("../a.star", "b")`, "main.star:1:6", "leads out of the entry script's directory", "keep libraries"},
		{`load("//../a.star", "b")`, "main.star:1:6", "leads out of the entry script's directory", "keep libraries"},
		{`load("lib/../../a.star", "b")`, "main.star:1:6", "leads out of", "keep libraries"},
		{`load("/etc/passwd", "b")`, "main.star:1:6", "absolute paths can't be loaded", `load("//`},
		{`load("@repo//x.star", "b")`, "main.star:1:6", "libraries are local files", `load("//`},
		{`load("", "b")`, "main.star:1:6", "no file is named", `load("//`},
		{`load("//", "b")`, "main.star:1:6", "names a directory", `load("//`},
		{`load("a\000b", "b")`, "main.star:1:6", "NUL", ""},
		{`load("binary", "b")`, "binary:1:5", "not UTF-8 text", "saved as UTF-8"},
		{`load("lib/a.star", "instal")`, "main.star:1:21", "load: name instal not found in lib/a.star", "did you mean install?"},
		{`load("lib/a.star", x = "zzz")`, "main.star:1:25", "name zzz not found in lib/a.star", "lib/a.star defines install, remove_all"},
		{`load("lib/a.star", "b")`, "main.star:1:21", "name b not found in lib/a.star", `load it from "//lib/b.star"`},
		{`load("lib/a.star", "_hidden")`, "main.star:1:21", "not exported: _hidden", "private"},
		{`load("lib/empty.star", "f")`, "main.star:1:25", "name f not found", "defines no names"},
		{`load("cycle/x.star", "x")`, "cycle/y.star:1:6", "files load each other: cycle/x.star -> cycle/y.star -> cycle/x.star", "a file of its own"},
		{`load("cycle/self.star", "x")`, "cycle/self.star:1:6", "cycle/self.star -> cycle/self.star", ""},
		{`load("cycle/main.star", "x")`, "cycle/main.star:1:6", "main.star -> cycle/main.star -> main.star", ""},
		{`load("lib/b.star", "b"); load("lib/b.star", "b")`, "main.star:1:46", "b has a value already, from main.star:1:21", "my_b"},
	} {
		files["main.star"] = test.statement + "\nfail('it ran')\n"
		_, err := Parse(options(t, write(t, files)))
		var problems Problems
		if !errors.As(err, &problems) {
			t.Errorf("%s: got error %v, want problems", test.statement, err)
			continue
		}
		if !slices.ContainsFunc(problems, func(p Problem) bool {
			return p.Pos.String() == test.position && strings.Contains(p.Message, test.message) && strings.Contains(p.Hint, test.hint)
		}) {
			t.Errorf("%s:\ngot  %v\n     %s\nwant %s: %s\n     %s",
				test.statement, problems, problems[0].Hint, test.position, test.message, test.hint)
		}
	}
}

// TestFramesThroughLoads holds that a failure shows every level, also when it happens while libraries load.
func TestFramesThroughLoads(t *testing.T) {
	dir := write(t, map[string]string{
		"main.star":  "load(\"lib/a.star\", \"a\")\n\ndef main():\n    a(1)\n\nmain()\n",
		"lib/a.star": "load(\"b.star\", \"b\")\ndef a(x):\n    return sorted([x], key = b)\n",
		"lib/b.star": "def b(x):\n    refuse(\"b\")\n",
	})
	_, err := run(t, options(t, dir))
	const want = `at main.star:6:5 in <toplevel>
at main.star:4:6 in main
at lib/a.star:3:18 in a
at lib/b.star:2:11 in b`
	if trace(err) != want {
		t.Errorf("got\n%s\nwant\n%s", trace(err), want)
	}
	if err.Error() != "refuse b: not today" || failure.HintOf(err) != "come back tomorrow" {
		t.Errorf("got %v, hint %q", err, failure.HintOf(err))
	}

	dir = write(t, map[string]string{
		"main.star":  "load(\"lib/a.star\", \"a\")\n",
		"lib/a.star": "load(\"b.star\", \"b\")\na = 1\n",
		"lib/b.star": "def f():\n    refuse(\"b\")\nb = f()\n",
	})
	_, err = run(t, options(t, dir))
	const wantLoading = `at main.star:1:1 in <toplevel>
at lib/a.star:1:1 in <toplevel>
at lib/b.star:3:6 in <toplevel>
at lib/b.star:2:11 in f`
	if trace(err) != wantLoading {
		t.Errorf("got\n%s\nwant\n%s", trace(err), wantLoading)
	}
	if err.Error() != "refuse b: not today" {
		t.Errorf("got %v: the loads' own wrapping is in the message", err)
	}
}

// TestFramesOfOtherThreads holds that a builtin's callback on another thread continues the stack, and that the
// builtin's own words stay.
func TestFramesOfOtherThreads(t *testing.T) {
	dir := write(t, map[string]string{"main.star": "def f():\n    fail(\"inner\")\n\naside(f)\n"})
	opts := options(t, dir)
	opts.Predeclared["aside"] = starlark.NewBuiltin("aside", func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		if _, err := starlark.Call(&starlark.Thread{}, args[0], nil, nil); err != nil {
			return nil, fmt.Errorf("aside: %w", err)
		}
		return starlark.None, nil
	})
	_, err := run(t, opts)
	if want := "at main.star:4:6 in <toplevel>\nat main.star:2:9 in f"; trace(err) != want {
		t.Errorf("got\n%s\nwant\n%s", trace(err), want)
	}
	if err == nil || err.Error() != "aside: fail: inner" {
		t.Errorf("got %v", err)
	}
}

func TestLibrariesAreFrozen(t *testing.T) {
	dir := write(t, map[string]string{
		"main.star":  "load(\"lib/a.star\", \"add\")\nadd(1)\n",
		"lib/a.star": "_seen = []\ndef add(x):\n    _seen.append(x)\n",
	})
	_, err := run(t, options(t, dir))
	if err == nil || !strings.Contains(err.Error(), "frozen list") || !strings.Contains(failure.HintOf(err), "copies") {
		t.Errorf("got %v, hint %q", err, failure.HintOf(err))
	}
}

// TestWhere holds what builtins learn about their caller.
func TestWhere(t *testing.T) {
	dir := write(t, map[string]string{
		"main.star":        "load(\"lib/deep/a.star\", \"f\", \"at_load\")\nprint(where(), f(), at_load, sorted([1], key = lambda x: where())[0])\nprint(sorted([1], key = where)[0])\n",
		"lib/deep/a.star":  "load(\"//helper.star\", \"call\")\ndef f():\n    return where()\nat_load = call(where)\n",
		"helper.star":      "def call(f):\n    return f()\n",
		"unrelated/x.star": "",
	})
	opts := options(t, dir)
	opts.Predeclared["where"] = starlark.NewBuiltin("where", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		rel, err := filepath.Rel(dir, Dir(thread))
		if err != nil || Context(thread) == nil {
			t.Errorf("Dir: %v, Context: %v", err, Context(thread))
		}
		return starlark.String(fmt.Sprintf("[%s %s %t]", Caller(thread), rel, Loading(thread))), nil
	})
	printed, err := run(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[main.star:2:12 . false] [lib/deep/a.star:3:17 lib/deep false] [helper.star:2:13 . true] 1
[main.star:3:13 . false]`
	if got := strings.Replace(printed, "\n1", "\n[main.star:3:13 . false]", 1); got != want {
		t.Errorf("got\n%s\nwant\n%s", printed, want)
	}
	thread := &starlark.Thread{}
	if Loading(thread) || Dir(thread) != "." || Caller(thread).IsValid() || Context(thread) == nil {
		t.Error("a thread of nobody's has no program")
	}
}

// TestNames holds how files are shown: as the user named the script, and libraries as seen from there.
func TestNames(t *testing.T) {
	dir := write(t, map[string]string{
		"proj/main.star":  "load(\"lib/a.star\", \"a\")\na()\n",
		"proj/lib/a.star": "def a(): fail(\"x\")\n",
	})
	t.Chdir(dir)
	for path, want := range map[string]string{
		"proj/main.star":                     "at proj/main.star:2:2 in <toplevel>\nat proj/lib/a.star:1:14 in a",
		"./proj/main.star":                   "at ./proj/main.star:2:2 in <toplevel>\nat proj/lib/a.star:1:14 in a",
		filepath.Join(dir, "proj/main.star"): "at " + dir + "/proj/main.star:2:2 in <toplevel>\nat " + dir + "/proj/lib/a.star:1:14 in a",
	} {
		_, err := run(t, Options{Path: path})
		if trace(err) != want {
			t.Errorf("%s: got\n%s\nwant\n%s", path, trace(err), want)
		}
	}
	_, err := run(t, Options{Path: "-", Dir: filepath.Join(dir, "proj"), Source: []byte("load(\"//lib/a.star\", \"a\")\na()")})
	if want := "at -:2:2 in <toplevel>\nat lib/a.star:1:14 in a"; trace(err) != want {
		t.Errorf("got\n%s\nwant\n%s", trace(err), want)
	}
}

func TestCancelledBeforeStart(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel((&failure.Error{Err: errors.New("interrupted"), Signal: 2}).WithKind(failure.Interrupted))
	p, err := Parse(Options{Path: "-", Source: []byte("fail('it ran')")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(ctx); err == nil || failure.Status(err) != 130 {
		t.Errorf("got %v, exit status %d, want 130", err, failure.Status(err))
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	verbs := starlark.StringDict{"begun": starlark.NewBuiltin("begun", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		time.AfterFunc(20*time.Millisecond, func() {
			cancel((&failure.Error{Err: errors.New("interrupted"), Signal: 15}).WithKind(failure.Interrupted))
		})
		return starlark.None, nil
	})}
	source := "def f():\n    begun()\n    for i in range(100000000000):\n        pass\nf()\n" // it would take an hour
	p, err := Parse(Options{Path: "a.star", Predeclared: verbs, Source: []byte(source)})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	err = p.Run(ctx)
	if err == nil || err.Error() != "interrupted" || failure.Status(err) != 143 {
		t.Errorf("got %v, exit status %d", err, failure.Status(err))
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v to end", took)
	}
	if !strings.Contains(trace(err), "in f") {
		t.Errorf("got frames\n%s", trace(err))
	}
}

// TestPanics holds that a panic is an error with a position and without a Go stack, wherever it comes from.
func TestPanics(t *testing.T) {
	var debug strings.Builder
	opts := Options{
		Path: "a.star", Source: []byte("def f():\n    explode()\nf()\n"), Predeclared: predeclared(t),
		Debug: func(text string) { debug.WriteString(text) },
	}
	_, err := run(t, opts)
	if err == nil || err.Error() != "explode: internal error: boom" || trace(err) != "at a.star:3:2 in <toplevel>\nat a.star:2:12 in f" {
		t.Errorf("got %v\n%s", err, trace(err))
	}
	if !strings.Contains(debug.String(), "goroutine") {
		t.Errorf("got debug text %q, want a Go stack", debug.String())
	}

	opts.Source = []byte("method.bang()\n")
	opts.Predeclared["method"] = bomb{}
	_, err = run(t, opts)
	if err == nil || err.Error() != "internal error: in a method" || failure.Status(err) != 1 {
		t.Errorf("got %v", err)
	}
}

// bomb is a value whose method panics without a Guard.
type bomb struct{ starlark.NoneType }

func (bomb) AttrNames() []string { return []string{"bang"} }

func (bomb) Attr(string) (starlark.Value, error) {
	return starlark.NewBuiltin("bang", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		panic("in a method")
	}), nil
}

func TestRunTwice(t *testing.T) {
	dir := write(t, map[string]string{
		"main.star":  "load(\"a.star\", \"a\")\nx = [a]\nx.append(1)\nprint(x)\n",
		"a.star":     "print(\"loading\")\na = 0\n",
		"other.star": "",
	})
	opts := options(t, dir)
	var printed []string
	opts.Print = func(line string) { printed = append(printed, line) }
	p, err := Parse(opts)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(printed, ","); got != "loading,[0, 1],loading,[0, 1]" {
		t.Errorf("got %s", got)
	}
}
