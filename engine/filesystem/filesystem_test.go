package filesystem_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/filesystem"
)

func TestSize(t *testing.T) {
	for bytes, want := range map[uint64]string{0: "0 B", 1 << 30: "1 GiB", 1536: "1.5 KiB", 300 << 20: "300 MiB", 2 << 40: "2 TiB"} {
		if got := filesystem.Size(bytes); got != want {
			t.Errorf("Size(%d) = %q, want %q", bytes, got, want)
		}
	}
}

// A path and an open file below it are on the same file system, and /proc is of a kind that every machine has.
func TestOf(t *testing.T) {
	proc, err := filesystem.Of("/proc")
	if err != nil || proc.Type != unix.PROC_SUPER_MAGIC {
		t.Errorf("/proc: %+v, %v", proc, err)
	}
	file, err := os.Open("/proc/version")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if same, err := filesystem.OfFile(file); err != nil || same != proc {
		t.Errorf("/proc/version: %+v, %v", same, err)
	}
	if _, err := filesystem.Of("/proc/none"); err != unix.ENOENT {
		t.Errorf("what isn't there: %v", err)
	}
	readOnly := filesystem.Info{Flags: unix.ST_RDONLY | unix.ST_NODEV}
	if !readOnly.Has(unix.ST_RDONLY) || readOnly.Has(unix.ST_NOEXEC) {
		t.Errorf("flags: %+v", readOnly)
	}
}
