package script

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/rlbuild/rlbuild/engine/failure"
)

const bugHint = "this is a bug in rlbuild; please report it with the script"

// stateKey is the thread-local key of *state.
const stateKey = "rlbuild.script"

// state is what one run knows; it hangs on the run's thread.
type state struct {
	program *Program
	ctx     context.Context
	modules map[*file]starlark.StringDict // loaded and frozen
	loading int                           // libraries whose top level is running now

	governor *governor
}

// Run runs the program within its limits. Its error is an *Error with the position of every level, around the failing
// builtin's own error. When ctx ends, the script stops at its next step, and the error wraps context.Cause(ctx). A builtin
// that panics fails the run like any other.
//
// A script that is stopped within an operation that doesn't end is left to itself: Run returns, and none of the builtins
// starts any more, but the process should end soon.
func (p *Program) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if ctx.Err() != nil {
		return &Error{Err: context.Cause(ctx)}
	}
	thread := &starlark.Thread{Name: p.entry.name, Print: func(_ *starlark.Thread, line string) {
		if p.opts.Print != nil {
			p.opts.Print(line)
		}
	}}
	g := govern(thread, p.opts.Limits, stop)
	earlier := int64(math.MaxInt64)
	if limit := p.opts.Limits.Memory; limit > 0 {
		// Garbage may take half as much again; the collector works harder near that.
		earlier = debug.SetMemoryLimit(int64(min(limit, math.MaxInt64/2) * 3 / 2))
	}
	s := &state{program: p, ctx: ctx, modules: map[*file]starlark.StringDict{}, governor: g}
	thread.Load = s.load
	thread.SetLocal(stateKey, s)
	defer context.AfterFunc(ctx, func() { thread.Cancel("interrupted") })()

	done, stuck := make(chan struct{}), make(chan struct{})
	var failed *Error
	go func() {
		defer close(done)
		failed = p.execute(thread)
	}()
	go g.watch(ctx, done, stuck)
	select {
	case <-stuck:
		abandoned := p.abandonedError(ctx, g)
		if len(abandoned.Frames) > 0 {
			return abandoned // with the memory limit as it is: changing it waits for the very operation
		}
		// The operation has ended just now, and so does the script, which says where.
		select {
		case <-done:
		case <-time.After(stopGrace):
			return abandoned
		}
	case <-done:
	}
	debug.SetMemoryLimit(earlier)
	if failed == nil {
		return nil
	}
	if ctx.Err() != nil {
		// Whatever the running step said, it said because it was stopped.
		failed.Err = context.Cause(ctx)
	}
	return failed
}

// execute runs the entry script on the thread.
func (p *Program) execute(thread *starlark.Thread) (failed *Error) {
	defer func() {
		// The interpreter has dropped its frames by now; builtins are guarded one by one to keep them (see guarded).
		if v := recover(); v != nil {
			failed = &Error{Err: panicked("", v, p.opts.Debug)}
		}
	}()
	if _, err := p.entry.program.Init(thread, p.predeclared); err != nil {
		return p.explain(err)
	}
	return nil
}

// loadError marks an error that the top level of a library ended with, so that the interpreter's wrapping of it ("cannot
// load x: ...") can be told from a builtin's own and dropped: the frames say where.
type loadError struct{ err error }

func (e *loadError) Error() string { return e.err.Error() }
func (e *loadError) Unwrap() error { return e.err }

// load runs a library the first time it is asked for. The library runs on the same thread as its loader, so that one
// stack holds the positions of every level and one Cancel stops them all.
func (s *state) load(thread *starlark.Thread, module string) (starlark.StringDict, error) {
	from := s.program.files[thread.CallFrame(0).Pos.Filename()]
	if from == nil || from.loads[module] == nil {
		return nil, fmt.Errorf("%q was not there when the script was parsed", module)
	}
	library := from.loads[module]
	if globals, ok := s.modules[library]; ok {
		return globals, nil
	}
	s.loading++
	defer func() { s.loading-- }()
	globals, err := library.program.Init(thread, s.program.predeclared)
	if err != nil {
		return nil, &loadError{err}
	}
	if err := canFreeze(globals); err != nil {
		return nil, &loadError{err}
	}
	// Freezing the globals, the private ones too, also freezes what functions of the library reach through them.
	globals.Freeze()
	s.modules[library] = globals
	return globals, nil
}

func stateOf(thread *starlark.Thread) *state {
	s, _ := thread.Local(stateKey).(*state)
	return s
}

// Loading reports whether the top level of a library is being executed by thread, directly or through a function it calls.
func Loading(thread *starlark.Thread) bool {
	s := stateOf(thread)
	return s != nil && s.loading > 0
}

// Context returns the context that the script runs under; context.Background() on a thread that Run didn't start.
func Context(thread *starlark.Thread) context.Context {
	if s := stateOf(thread); s != nil {
		return s.ctx
	}
	return context.Background()
}

// Dir returns the directory of the file whose code called the running builtin: Options.Dir for the entry script, the
// library's own directory in a library, "." on a thread that Run didn't start.
func Dir(thread *starlark.Thread) string {
	s := stateOf(thread)
	if s == nil {
		return "."
	}
	if f := s.program.files[Caller(thread).Filename()]; f != nil {
		return f.dir
	}
	return s.program.opts.Dir
}

// Caller returns the position in a script that the running builtin was called from: the innermost frame that is
// Starlark code, which is not the next one when another builtin makes the call, as in sorted(x, key = f).
func Caller(thread *starlark.Thread) syntax.Position {
	for depth := range thread.CallStackDepth() {
		if pos := thread.CallFrame(depth).Pos; pos.Line > 0 {
			return pos
		}
	}
	return syntax.Position{}
}

// guarded returns builtins whose panics are errors with a call stack. A panic that reaches Run has unwound the
// interpreter's frames, and with them the position.
func guarded(predeclared starlark.StringDict) starlark.StringDict {
	out := make(starlark.StringDict, len(predeclared))
	for name, value := range predeclared {
		if b, ok := value.(*starlark.Builtin); ok {
			value = Guard(b)
		}
		out[name] = value
	}
	return out
}

// Guard returns a builtin that does what b does, but for a receiver that b is bound to, except that a panic in b is an error
// of the calling line, and its Go stack goes to Options.Debug, and that arguments which can't be printed are an error. Parse
// guards the predeclared builtins; those who make values with methods guard these, before they bind them.
func Guard(b *starlark.Builtin) *starlark.Builtin {
	return starlark.NewBuiltin(b.Name(), func(thread *starlark.Thread, _ *starlark.Builtin,
		args starlark.Tuple, kwargs []starlark.Tuple) (value starlark.Value, err error) {
		defer func() {
			if v := recover(); v != nil {
				var report func(string)
				if s := stateOf(thread); s != nil {
					report = s.program.opts.Debug
				}
				value, err = nil, panicked(b.Name(), v, report)
			}
		}()
		if err := canPrint(args, kwargs); err != nil { // any of them may be in an error
			return nil, err
		}
		return b.CallInternal(thread, args, kwargs)
	})
}

func panicked(name string, v any, report func(string)) error {
	if report != nil {
		report(fmt.Sprintf("panic: %v\n%s", v, debug.Stack()))
	}
	return failure.New(name, "", "internal error: %v", v).WithHint(bugHint)
}
