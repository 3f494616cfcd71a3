package engine

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/filesystem"
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

func TestLeft(t *testing.T) {
	const gib = 1 << 30
	for want, on := range map[string]filesystem.Info{
		"1.5GiB of 20GiB are free":                              {Free: 3 * gib / 2, Total: 20 * gib, FreeFiles: 5000, Files: 6000},
		"1GiB of 20GiB are free, and 5 of 6000 inodes":          {Free: gib, Total: 20 * gib, FreeFiles: 5, Files: 6000},
		"no inodes are left of 6000, so it takes no more files": {Free: gib, Total: 20 * gib, Files: 6000},
	} {
		if got := left(on); got != want {
			t.Errorf("%+v: %q, want %q", on, got, want)
		}
	}
}

func TestExhausted(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		of   filesystem.Info
		want bool
	}{
		{filesystem.Info{}, false}, // one without a size: /proc
		{filesystem.Info{Free: gib, Total: 20 * gib, FreeFiles: 5, Files: 6000}, false},
		{filesystem.Info{Free: 4096, Total: 20 * gib}, true},
		{filesystem.Info{Free: gib, Total: 20 * gib, Files: 6000}, true},
	} {
		if got := exhausted(c.of); got != c.want {
			t.Errorf("%+v: %v", c.of, got)
		}
	}
}
