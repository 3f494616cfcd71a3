package script

import (
	"errors"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Frame is one level of a failed run: a call, or the load of a library.
type Frame struct {
	Pos  syntax.Position // where the level was when the run failed
	Name string          // the function, "<toplevel>" for a file's own code
}

// Error is a failed run.
type Error struct {
	Frames []Frame // outermost first; only Starlark code, through every load; empty when nothing was running
	Err    error   // what the builtin or the interpreter said; never nil
}

// Error returns the message of Err; the frames are for the caller to print.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// explain turns an error of the interpreter into one with the frames of every level.
func (p *Program) explain(err error) *Error {
	var stack starlark.CallStack
	said := err // the outermost error that is not the interpreter's wrapping
	wrapping := true
	for e := err; e != nil; e = errors.Unwrap(e) {
		if evaluation, ok := e.(*starlark.EvalError); ok {
			stack = join(stack, evaluation.CallStack)
			if wrapping {
				said = evaluation.Unwrap()
				if loading, ok := errors.Unwrap(said).(*loadError); ok {
					said = loading.err
					e = loading // go on with what it wraps
				}
				_, wrapping = said.(*starlark.EvalError)
			}
		}
	}
	failed := &Error{Err: said}
	if own := (*failure.Error)(nil); !errors.As(said, &own) {
		failed.Err = p.explainEvaluation(said, stack)
		if n := len(stack); n > 0 && rejected(said.Error(), stack[n-1]) {
			stack = stack[:n-1] // the mistake is in the call, and the called function never started
		}
	}
	for _, frame := range stack {
		if frame.Pos.Line > 0 { // builtins have no lines; their errors name them
			failed.Frames = append(failed.Frames, Frame{Pos: frame.Pos, Name: frame.Name})
		}
	}
	return failed
}

// join returns the stack of an inner error below that of the error around it. On one thread the inner stack already
// starts with the outer one; a builtin that calls back on another thread starts a new one.
func join(outer, inner starlark.CallStack) starlark.CallStack {
	if len(inner) >= len(outer) && slices.Equal(outer, inner[:len(outer)]) {
		return inner
	}
	return append(slices.Clip(outer), inner...)
}

// withoutSuggestion splits the "(did you mean x?)" off that the interpreter ends its messages with.
func withoutSuggestion(message string) (plain, suggestion string) {
	if i := strings.LastIndex(message, " (did you mean "); i >= 0 && strings.HasSuffix(message, "?)") {
		return message[:i], message[i+len(" (did you mean ") : len(message)-len("?)")]
	}
	return message, ""
}
