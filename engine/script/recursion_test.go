package script

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"
)

// nested makes values that nothing sees growing: lists that are put into one another when they are there already, which takes
// no memory, and a struct that is in itself.
const nested = `
def lists():
    all = [[None] for _ in range(20000)]
    for i in range(len(all) - 1):
        all[i][0] = all[i + 1]
    return all[0]

def circle():
    l = []
    s = struct(l = (l,))
    l.append({"s": s})
    return s
`

// TestRecursionIsLimited does everything that recurses to values that it would take the process down with.
func TestRecursionIsLimited(t *testing.T) {
	verb := starlark.NewBuiltin("verb", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return nil, starlark.UnpackPositionalArgs(b.Name(), args, nil, 0) // an error that shows a value
	})
	for _, operation := range []string{
		"str(x)", "repr(x)", "print(1, x)", "fail(x)", "json.encode(x)", "json.encode_indent(x)", "'%s' % x", "'%r %s' % (1, [x])",
		"'%(a)s' % {'a': x}", "'{}'.format(x)", "'{a}'.format(a = x)", "getattr('{}', 'format')(x)", "y = ['%s']\ny[0] %= (x,)", "y = ['%s']\ny[-1] %= (x,)",
		"str(struct(x = x))", "verb(x)", "verb(x = [x])", "sorted([x], key = str)",
	} {
		source := nested + "x = lists()\n" + operation + "\n"
		wantEnd(t, limited(t, source, Limits{}, starlark.StringDict{"verb": verb}), "values are nested more than 10000 deep", "main.star:")
		source = nested + "x = circle()\n" + operation + "\n"
		wantEnd(t, limited(t, source, Limits{}, starlark.StringDict{"verb": verb}), "a struct holds itself and has no end to print", "main.star:")
	}
	// What doesn't recurse, or knows where to end, is as ever.
	source := nested + "x = circle()\ny = lists()\n[type(v) for v in (x, y)], len(y), y[0][0][0] == None, x.l[0][0]['s'] != 1\n" +
		"def f():\n    s = struct(g = lambda: s, h = [f])\n    return s\nstr(f()) + '%s' % f\n" +
		"l = [1]\nd = {'l': l}\nl.append(d)\nstr(l) == '[1, {\"l\": [...]}]' or fail(l)\n5 % 3 == 2 or fail()\n"
	if err := limited(t, source, Limits{}, nil); err != nil {
		t.Error(err)
	}
	wantEnd(t, limited(t, nested+"lists() == [[lists()]]\n", Limits{}, nil), "comparison exceeded maximum recursion depth", "main.star:")
}

// TestCirclesHideNothing prints values whose depth lies in circles. In the first each level closes one with the next; in the
// second a single one is gone round again and again, through another list each time.
func TestCirclesHideNothing(t *testing.T) {
	for _, source := range []string{`
def f():
    root = [None]
    for k in range(24):
        root.insert(0, (root[0],))
        for i in range(9000):
            root[0] = (root[0],)
        root[0] = [root[0]]
        root.insert(0, [root[0]])
        root[1].append(root[0])
    OPERATION(root)
f()
`, `
def f():
    lists = [[] for _ in range(1000)]
    x = tuple(lists)
    for i in range(9000):
        x = (x,)
    for l in lists:
        l.append(x)
    OPERATION(x)
f()
`} {
		for _, operation := range []string{"str", "'%s' % (lambda x: (x,))", "json.encode"} {
			wantEnd(t, limited(t, strings.Replace(source, "OPERATION", operation, 1), Limits{}, nil),
				"values are nested more than 10000 deep", "main.star:")
		}
	}
	// What is in circles and not deep is printed: a tree whose nodes know what they hang on.
	source := `
def f():
    root = {"up": None, "down": []}
    last = [root]
    for _ in range(8):
        last = [{"up": (up,), "down": []} for up in last for _ in range(2)]
        for node in last:
            node["up"][0]["down"].append(node)
    s = struct(root = [root])
    len(str(root)) > 1000 or fail()
    type(s)
f()
`
	if err := limited(t, source, Limits{}, nil); err != nil {
		t.Error(err)
	}
}

// TestFreezingIsLimited loads libraries whose values can't be frozen, and ones that are in a circle and can.
func TestFreezingIsLimited(t *testing.T) {
	dir := t.TempDir()
	for name, library := range map[string]struct{ source, want string }{
		"lists":     {nested + "x = lists()\n", "values are nested more than 10000 deep"},
		"self":      {"def make():\n    def inner():\n        return inner\n    return inner\nx = make()\n", "lib.star:2:5: function inner refers to itself"},
		"together":  {"def make():\n    def a():\n        return b\n    t = (a,)\n    def b():\n        return t\n    return b\nx = {1: [make()]}\n", "refers to itself"},
		"circle":    {nested + "x = circle()\n", ""},
		"longer":    {"def make():\n    def f():\n        return l, g\n    l = [lambda: g]\n    def g():\n        return f\n    return f\nx = make()\n", "refers to itself"},
		"tuples":    {"def make():\n    t = ()\n    for i in range(60):\n        t = (t, t)\n    return [t]\nx = make()\n", "x holds the same values too many times over"},
		"functions": {"def make():\n    f = None\n    for i in range(60):\n        f = lambda a = f, b = f: a\n    return f\nx = make()\n", "x holds the same values too many times over"},
		"wide":      {"def make():\n    t = (1,) * 100000\n    return (t,) * 100000\nx = make()\n", "x holds the same values too many times over"},
		"shared":    {"def make():\n    l = []\n    for i in range(60):\n        l = [l, l]\n    return (l, l)\nx = make()\n", ""},
		"method":    {"def make():\n    s = struct(f = lambda: s)\n    l = [lambda: l]\n    l.append(l.append)\n    return l, s\nx = make()\n", ""},
	} {
		if err := os.WriteFile(filepath.Join(dir, "lib.star"), []byte(library.source), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Parse(Options{Path: "main.star", Dir: dir, Source: []byte("load('lib.star', 'x')\ntype(x)\n")})
		if err != nil {
			t.Fatal(err)
		}
		switch err := p.Run(t.Context()); {
		case library.want != "":
			wantEnd(t, err, library.want, "main.star:1")
		case err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestErrorsOfJSONAreShort has json.encode fail at the bottom of what is allowed: it names the way there element by element.
func TestErrorsOfJSONAreShort(t *testing.T) {
	source := "def f():\n    x = lambda: 1\n    for i in range(9000):\n        x = [x]\n    json.encode(x)\nf()\n"
	err := limited(t, source, Limits{}, nil)
	wantEnd(t, err, "cannot encode function as JSON", "main.star:5")
	if err != nil && (len(err.Error()) > 1000 || !strings.HasPrefix(err.Error(), "json.encode: at list index 0")) {
		t.Errorf("%d bytes: %.100s", len(err.Error()), err)
	}
}
