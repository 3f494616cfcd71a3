package script

import (
	"strings"
	"testing"
)

// TestAugmentedAssignments holds that what is put in for *= and %= evaluates as Starlark does: each part of the target once,
// then what was there, then the right-hand side.
func TestAugmentedAssignments(t *testing.T) {
	const source = `
order = []

def note(what, value):
    order.append(what)
    return value

def change(list, index, value):
    list[index] = value
    return 3

all = [[1], [2, 3]]
note("list", all)[note("index", -1)][(note("inner", 0))] *= note("right", 5)
all == [[1], [10, 3]] or fail(all)
order == ["list", "index", "inner", "right"] or fail(order)

at = [0]
numbers = [2, 7]
numbers[at[0]] *= change(at, 0, 1)
numbers == [6, 7] or fail(numbers)
(numbers[at[0]]) %= change(numbers, 1, 70)
numbers == [6, 1] or fail(numbers)

def inside():
    rows = [["%d"], [3]]
    for i in range(2):
        rows[-1][i - 1] *= 2
        if i:
            rows[:1][0][i * 0] %= rows[1][0]
    d = {(1, 2): {"a": 5}}
    d[1, 2]["a"] *= 2
    d[(1, 2)]["a"] *= 2
    again = [lambda: rows[-1]]
    again[0]()[0] *= 2
    return rows, d

def last(x):
    if x:
        x[-1] *= 2

last([1])
inside() == ([["12"], [24]], {(1, 2): {"a": 20}}) or fail(inside())
`
	if err := limited(t, source, Limits{}, nil); err != nil {
		t.Errorf("%v\n%s", err, trace(err))
	}
	for source, want := range map[string]string{
		"x = [[1]]\nx[-1][5 - 0] *= 2\n":                      "main.star:2:6",
		"x = [1]\nx[-1] *= {}\n":                              "main.star:2:7",
		"x = ((1, 2),)\nx[-1][0] *= 2\n":                      "main.star:2:6",
		"def f():\n  return [0] // 1\nx = [1]\nf()[0] %= 2\n": "main.star:4:2",
		"x = [struct(a = 1)]\nx[0].a *= 2\n":                  "main.star:2:5",
	} {
		err := limited(t, source, Limits{}, nil)
		if err == nil || !strings.Contains(trace(err), want+" ") || strings.Contains(err.Error(), "$") {
			t.Errorf("%s: got %v\n%s\nwant it at %s", source, err, trace(err), want)
		}
	}
}

// TestHoistedNames holds that no script comes to see the variables that assignments are split with.
func TestHoistedNames(t *testing.T) {
	dir := write(t, map[string]string{
		"lib.star":  "x = [[1]]\nx[-1][0] *= 2\n",
		"main.star": "load('lib.star', 'x')\nx == [[2]] or fail(x)\n",
	})
	if _, err := run(t, options(t, dir)); err != nil {
		t.Error(err)
	}
	opts := options(t, dir)
	opts.Path, opts.Source = "names.star", []byte("load('lib.star', y = '$1')\n")
	if _, err := Parse(opts); err == nil || !strings.Contains(err.Error(), "name $1 not found in lib.star") {
		t.Errorf("got %v", err)
	}
}
