package script

import (
	"context"
	"fmt"
	"math"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Limits bound what one run of a script may take. A zero is no limit.
type Limits struct {
	Steps  uint64 // of the interpreter: a few for each line of the script that runs
	Memory uint64 // bytes of this process's heap, where the script's values are beside all that the verbs work with
}

const (
	// sampleEvery is how often the heap is looked at: within it a script can fill some tens of megabytes.
	sampleEvery = 20 * time.Millisecond
	// stopGrace is how long a stopped script has to come to its next step. One that doesn't is within a single operation, as
	// [0] * 1000000000 or a comparison of huge numbers, which nothing can interrupt.
	stopGrace = time.Second
	// stepsBetween is after how many steps the interpreter is looked at from within (see governor.look): some milliseconds.
	stepsBetween = 250_000
)

// exceeded says which limit a script came to.
type exceeded string

func (e exceeded) Error() string { return string(e) }

// governor holds one run to its limits.
type governor struct {
	limits Limits
	thread *starlark.Thread
	stop   context.CancelCauseFunc

	allocated uint64 // bytes, ever, when nesting was last measured
	stepped   uint64 // steps taken then
	decoded   uint64 // levels of JSON that were read since

	mu        sync.Mutex
	verbs     int  // builtins of ours that are running
	abandoned bool // Run has returned without the script: nothing of ours may start
}

// govern sets the thread's limits.
func govern(thread *starlark.Thread, limits Limits, stop context.CancelCauseFunc) *governor {
	g := &governor{limits: limits, thread: thread, stop: stop, allocated: sample(everAllocated)}
	thread.OnMaxSteps = func(*starlark.Thread) { g.look() }
	thread.SetMaxExecutionSteps(g.nextLook())
	return g
}

// nextLook returns the step at which look is due again.
func (g *governor) nextLook() uint64 {
	next := g.thread.ExecutionSteps() + stepsBetween
	if g.limits.Steps > 0 {
		next = min(next, g.limits.Steps)
	}
	return next
}

// look is called by the interpreter, between two steps.
func (g *governor) look() {
	switch {
	case g.limits.Steps > 0 && g.thread.ExecutionSteps() >= g.limits.Steps:
		g.thread.SetMaxExecutionSteps(math.MaxUint64)
		g.end(failure.New("", "", "%w", exceeded(fmt.Sprintf("the script took %d steps, which is its limit", g.limits.Steps))).
			WithHint("see that its loops end, or give it more: --max-steps, 0 for no limit"))
		return
	case g.nestedTooDeeply():
		g.end(tooDeep())
	}
	g.thread.SetMaxExecutionSteps(g.nextLook())
}

// end stops the script.
func (g *governor) end(err error) {
	g.stop(err)
	g.thread.Cancel("stopped") // before the next step, which the context alone doesn't promise
}

// watch stops the script when the heap grows over its limit, until done is closed. It closes stuck when the script has to
// be left to itself: it was stopped and is in the middle of one operation that doesn't end.
func (g *governor) watch(ctx context.Context, done <-chan struct{}, stuck chan<- struct{}) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	if g.limits.Memory == 0 {
		ticker.Stop() // nothing to sample before the script is stopped
	}
	stopped := ctx.Done()
	var deadline time.Time
	last := uint64(math.MaxUint64)
	for {
		select {
		case <-done:
			return
		case <-stopped:
			stopped, deadline = nil, time.Now().Add(stopGrace)
			ticker.Reset(sampleEvery)
		case <-ticker.C:
		}
		steps := atomic.LoadUint64(&g.thread.Steps)
		urgent := g.tooMuch(!deadline.IsZero())
		patient := deadline.IsZero() || time.Now().Before(deadline)
		if steps == last && (urgent || !patient) && g.abandon() {
			close(stuck)
			return
		}
		if last = steps; g.busy() {
			last = math.MaxUint64 // the time counts from the end of the verb
			if !patient {
				deadline = time.Now().Add(stopGrace)
			}
		}
	}
}

// tooMuch stops the script if what is alive on the heap is over its limit, unless it is stopped already. It reports
// whether the heap is so far over it, garbage or not, that waiting is dangerous.
func (g *governor) tooMuch(stopped bool) bool {
	limit := g.limits.Memory
	if limit == 0 {
		return false
	}
	urgent := sample(heapHeld) > 2*limit
	if !stopped && (urgent || sample(heapAlive) > limit) {
		g.end(g.overLimit())
	}
	return urgent
}

func (g *governor) overLimit() error {
	return failure.New("", "", "%w", exceeded(fmt.Sprintf("the script and what it does need more memory than the %d MiB they may have", g.limits.Memory>>20))).
		WithHint("see that it doesn't collect without end, or give it more: --max-memory, 0 for no limit")
}

// busy reports whether a builtin of ours is running: it ends by itself when the context does, and must be waited for.
func (g *governor) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.verbs > 0
}

// abandon gives the script up, unless a builtin of ours is running.
func (g *governor) abandon() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.abandoned = g.verbs == 0
	return g.abandoned
}

// Begin notes that a verb runs on the thread, and returns what notes its end. It fails when the run is over: then the verb
// must not start, since what it would work with is being closed.
func Begin(thread *starlark.Thread) (end func(), err error) {
	s := stateOf(thread)
	if s == nil {
		return func() {}, nil
	}
	g := s.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.abandoned {
		return nil, fmt.Errorf("the run is over")
	}
	g.verbs++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.verbs--
	}, nil
}

// abandonedError is the error of a script that was left in the middle of an operation.
func (p *Program) abandonedError(ctx context.Context, g *governor) (failed *Error) {
	failed = &Error{Err: context.Cause(ctx)}
	defer func() { _ = recover() }() // the thread went on after all, and changed what was being read: then without the line
	// The thread isn't ours to look at while it runs. But it stands still, in one operation, since stopGrace or, where memory
	// is short, since the last look; and without the line an error about a script helps nobody.
	for _, frame := range g.thread.CallStack() {
		if frame.Pos.Line > 0 {
			failed.Frames = append(failed.Frames, Frame{Pos: frame.Pos, Name: frame.Name})
		}
	}
	return failed
}

// What sample reads.
const (
	heapHeld      = "/memory/classes/heap/objects:bytes" // alive, or garbage that wasn't collected yet
	heapAlive     = "/gc/heap/live:bytes"                // as the last collection found
	everAllocated = "/gc/heap/allocs:bytes"
)

func sample(name string) uint64 {
	samples := []metrics.Sample{{Name: name}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}
