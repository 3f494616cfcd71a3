package engine

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// The kernel is out of other things than room as well.
func TestNoRoomElsewhere(t *testing.T) {
	b := run(t, place(t), "vfs")
	for _, err := range []error{
		&sandbox.Error{Doing: "making the step's namespaces", Err: unix.ENOSPC},
		&sandbox.Error{Doing: "mounting proc on /proc", Err: unix.ENOSPC},
		errors.New("mount " + b.options.TempDir + ":" + b.options.TempDir + "/x, flags: 0x1000: no space left on device"),
		errors.New("unshare: no space left on device"),
	} {
		if got := b.Examine("run", explain("run", "x", err)); got.Error() != explain("run", "x", err).Error() {
			t.Errorf("%v: %v", err, got)
		}
	}
	full := explain("run", "x", &os.PathError{Op: "write", Path: b.options.TempDir + "/x", Err: unix.ENOSPC})
	if got := b.Examine("run", full); got.Error() == full.Error() {
		t.Errorf("of a file: %v", got)
	}
}
