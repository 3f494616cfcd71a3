package engine

import (
	"context"
	"os"
	"time"
)

// stopPatience is how long what the library does has to end by itself once the run is interrupted, and its processes are
// killed. What waits for somebody on the network may never end.
const (
	stopPatience = 700 * time.Millisecond
	killPause    = 20 * time.Millisecond
)

// stopping calls what doesn't look at its context everywhere. When ctx ends, the processes of the run are killed, so that
// whatever the call does with them fails, and the call is waited for as long as stopPatience; then it is left to itself, for
// the short time until rlbuild ends. What it still does is in the journal, for the
// next run to see to.
func stopping[T any](ctx context.Context, b *Builder, call func() (T, error)) (T, error) {
	done := make(chan ended[T], 1)
	go func() {
		var e ended[T]
		defer func() {
			e.panicked = recover() // for the caller, who knows the place in the script
			done <- e
		}()
		e.value, e.err = call()
	}()
	select {
	case e := <-done:
		return e.result()
	case <-ctx.Done():
	}
	for range int(stopPatience / killPause) {
		killAll(descendants(os.Getpid()))
		select {
		case e := <-done:
			return e.result()
		case <-time.After(killPause):
		}
	}
	b.unfinished.Store(true)
	var none T
	return none, context.Cause(ctx)
}

// ended is how a call ended.
type ended[T any] struct {
	value    T
	err      error
	panicked any
}

func (e ended[T]) result() (T, error) {
	if e.panicked != nil {
		panic(e.panicked)
	}
	return e.value, e.err
}
