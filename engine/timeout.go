package engine

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// codeTimedOut is the status of a command whose time was over, as timeout(1) has it.
const codeTimedOut = 124

// errTimedOut is why the context of a command ended whose time was over.
var errTimedOut = errors.New("its time is over")

// deadline ends a command's processes when its time is over.
type deadline struct {
	ctx    context.Context // for the command: it also ends when the processes have to be gone
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed by stop
	gone   chan struct{} // closed when nothing is watched any more
	passed atomic.Bool
}

// newDeadline starts to watch a command that is about to be started; a limit of 0 never passes. The command's processes
// are those below this one that aren't there yet and that mine is true of. They get TERM, and KILL when stopGrace has
// gone; then the context ends. Call stop when the command has ended.
func newDeadline(ctx context.Context, limit time.Duration, mine func(process) bool) *deadline {
	d := &deadline{ended: make(chan struct{}), gone: make(chan struct{})}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	if limit <= 0 {
		close(d.gone)
		return d
	}
	before := descendants(os.Getpid())
	go func() {
		defer close(d.gone)
		if d.over(limit) {
			return
		}
		d.passed.Store(true)
		terminate(newSince(before, mine))
		if d.over(stopGrace) {
			return
		}
		killAll(newSince(before, mine))
		d.cancel(errTimedOut)
	}()
	return d
}

// over waits, and tells whether the command has ended meanwhile.
func (d *deadline) over(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-d.ended:
		return true
	case <-d.ctx.Done():
		return true
	case <-timer.C:
		return false
	}
}

// stop ends the watch and tells whether the time was over before the command had ended.
func (d *deadline) stop() bool {
	close(d.ended)
	<-d.gone
	d.cancel(nil)
	return d.passed.Load()
}

// terminate asks processes to end. The first process of a pid namespace is deaf to signals it has no handler for
// (pid_namespaces(7)); where TERM would have ended any other, it is killed.
func terminate(processes []process) {
	for _, p := range processes {
		signal := syscall.SIGTERM
		if deafTo(p, signal) {
			signal = syscall.SIGKILL
		}
		p.signal(signal)
	}
}
