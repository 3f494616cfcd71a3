package script

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.starlark.net/starlark"
)

// limited runs a script with limits, within the time that a hang would take the suite.
func limited(t *testing.T, source string, limits Limits, verbs starlark.StringDict) error {
	t.Helper()
	p, err := Parse(Options{Path: "main.star", Source: []byte(source), Limits: limits, Predeclared: verbs})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errors.New("it never ends"))
	defer cancel()
	return p.Run(ctx)
}

func wantEnd(t *testing.T, err error, message, position string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), message) || !strings.Contains(trace(err), position) {
		t.Errorf("got %v\n%s\nwant %q at %s", err, trace(err), message, position)
	}
}

func TestStepsAreLimited(t *testing.T) {
	const loop = "def f():\n  for i in range(100000):\n    for j in range(100000):\n      pass\nf()\n"
	wantEnd(t, limited(t, loop, Limits{Steps: 1_000_000}, nil), "the script took 1000000 steps", "main.star:3")
	wantEnd(t, limited(t, loop, Limits{Steps: 1000}, nil), "the script took 1000 steps", "main.star:3")
	if err := limited(t, "for i in range(100): pass\n", Limits{Steps: 1000}, nil); err != nil {
		t.Error(err)
	}
	if err := limited(t, "for i in range(1000000): pass\n", Limits{}, nil); err != nil {
		t.Error(err)
	}
}

// TestNestingIsLimited grows values in all the places that a script has for them, and then makes the interpreter recurse.
func TestNestingIsLimited(t *testing.T) {
	for name, source := range map[string]string{
		"printed":   "def f():\n  x = ()\n  for i in range(20000000):\n    x = (x,)\n  print(x)\nf()\n",
		"global":    "x = [()]\nfor i in range(20000000):\n    x[0] = (x[0],)\n{x[0]: 1}\n",
		"dict":      "d = {}\nfor i in range(20000000):\n    d[0] = {1: d.get(0)}\njson.encode(d)\n",
		"struct":    "def f():\n  d = None\n  for i in range(20000000):\n    d = struct(d = d)\n  str(d)\nf()\n",
		"shared":    "def f():\n  x = [()]\n  y = ()\n  [lambda: y]\n  for i in range(20000000):\n    y = (y,)\n  set([y])\nf()\n",
		"bound":     "def f(append, l):\n  for i in range(20000000):\n    append([l.pop()])\n\ndef g():\n  l = [1]\n  f(l.append, l)\n  str(l)\ng()\n",
		"functions": "def f():\n  g = None\n  for i in range(20000000):\n    g = lambda x = g: x\n  return g\nstr(f())\n",
	} {
		t.Run(name, func(t *testing.T) {
			wantEnd(t, limited(t, source, Limits{}, nil), "values are nested more than 10000 deep", "main.star:")
		})
	}
	wantEnd(t, limited(t, "json.decode('[' * 4000000)\n", Limits{}, nil), "json.decode: the text is nested more than 10000 deep", "main.star:1")
	if err := limited(t, "json.decode(x = '[{\"a\":' * 4000000, default = 1) == 1 or fail('no default')\n", Limits{}, nil); err != nil {
		t.Error(err)
	}
}

// TestDeepValuesWork holds that what is allowed is also possible: the deepest values, and circles.
func TestDeepValuesWork(t *testing.T) {
	source := `
def deep(n):
    x = ()
    for i in range(n):
        x = (x,)
    return x

x = deep(9990)
str(x)
{x: 1}
json.decode("[" * 9000 + '"[[["' + "]" * 9000)
json.decode('"' + "[" * 50000 + '"')
l = []
l.append(l)
str(l)
d = {}
d[1] = d
str(d)
big = [str(i) for i in range(2000000)]
`
	if err := limited(t, source, Limits{}, nil); err != nil {
		t.Error(err)
	}
	wantEnd(t, limited(t, "l = []\nl.append(l)\njson.encode(l)\n", Limits{}, nil), "cycle", "main.star:3")
	wantEnd(t, limited(t, "l = []\nl.append(l)\nl == [[[[[[[[[[[[[[[[l]]]]]]]]]]]]]]]]\n", Limits{}, nil), "recursion", "main.star:3")
}

// TestStuckOperations stops scripts in the middle of operations that nothing can interrupt.
func TestStuckOperations(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const never = "def f():\n  x = ()\n  for i in range(64):\n    x = (x, x)\n  return {x: begun()}\nf()\n" // 2^64 hashes
	ctx, cancel := context.WithCancelCause(context.Background())
	verbs := starlark.StringDict{"begun": starlark.NewBuiltin("begun", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		time.AfterFunc(100*time.Millisecond, func() { cancel(errors.New("stopped")) })
		return starlark.None, nil
	})}
	p, err := Parse(Options{Path: "main.star", Predeclared: verbs, Source: []byte(never)})
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("STUCK") == "" { // the goroutine goes on for ever: it gets a process of its own
		again(t, "STUCK=1")
		return
	}
	start := time.Now()
	wantEnd(t, p.Run(ctx), "stopped", "main.star:5")
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v to end", took)
	}
}

// TestMemoryIsLimited lets scripts eat, each in a process of its own whose largest size is looked at.
func TestMemoryIsLimited(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const limit = 200 << 20
	for name, source := range map[string]string{
		"bites":   "def f():\n  x = []\n  for i in range(1000000000):\n    x.append(str(i))\nf()\n",
		"gulp":    "x = [0] * 1000000000\n",
		"words":   "x = 'x' * 1000000\ny = 'y'.join([x] * 100000)\n",
		"replace": "x = 'x' * 1000000\nx.replace('x', x)\n",
		"again":   "x = [0]\nx[0] = [1]\nx[0] *= 100000000\n",
		"last":    "x = [[0]]\nx[-1] *= 100000000\n",
		"parts":   "def f(x, i):\n  x[i * 2:][i + 0] *= 100000000\nx = [[0]]\nf(x, 0)\n",
		"split":   "x = 'a,' * 10000000\nx.split(',')\n",
		"lines":   "x = '\\n' * 10000000\nx.splitlines()\n",
		"range":   "x = list(range(10000000000))\n",
		"twice":   "def f():\n  x = 'x'\n  for i in range(60):\n    x += x\nf()\n",
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv("EAT") == "" {
				// What doubles can do so twice before anybody looks, on a busy machine; once in a while, on a very busy one, again,
				// but neither more than that nor twice in a row.
				rss := again(t, "EAT=1")
				if rss > 16*limit && rss <= 32*limit {
					t.Logf("%d MiB", rss>>20)
					rss = again(t, "EAT=1")
				}
				if rss > 16*limit {
					t.Errorf("it grew to %d MiB, with a limit of %d", rss>>20, limit>>20)
				} else {
					t.Logf("%d MiB", rss>>20)
				}
				return
			}
			err := limited(t, source, Limits{Memory: limit}, nil)
			wantEnd(t, err, "need more memory than the 200 MiB", "main.star:")
		})
	}
	if os.Getenv("EAT") == "" {
		garbage := "def f():\n  for i in range(3000):\n    x = 'x' * 1000000\nf()\n"
		if err := limited(t, garbage, Limits{Memory: limit}, nil); err != nil {
			t.Errorf("garbage counts: %v", err)
		}
		cheap := "x = 'a b ' * 10000000\nbytes(x)\nx.split(' ', 3)\n" // 40 MB, with little of it more than once
		if err := limited(t, cheap, Limits{Memory: limit}, nil); err != nil {
			t.Error(err)
		}
	}
}

// again runs the test in another process and returns how large that grew, in bytes.
func again(t *testing.T, env string) int64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), env)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
}

// TestVerbsAreWaitedFor holds that a stopped script is not left while a builtin of rlbuild's own is still at work.
func TestVerbsAreWaitedFor(t *testing.T) {
	ended := false
	ctx, cancel := context.WithCancelCause(context.Background())
	slow := starlark.NewBuiltin("slow", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		end, err := Begin(thread)
		if err != nil {
			return nil, err
		}
		defer end()
		cancel(errors.New("stopped"))
		<-Context(thread).Done()
		time.Sleep(stopGrace + 200*time.Millisecond) // cleaning up
		ended = true
		return starlark.None, nil
	})
	p, err := Parse(Options{Path: "main.star", Source: []byte("slow()\n"), Predeclared: starlark.StringDict{"slow": slow}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(ctx); !ended || err == nil || err.Error() != "stopped" {
		t.Errorf("ended %v, %v", ended, err)
	}
}
