package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Badge returns a text to put on what the run makes in places that outlive its journal, which the run root may lose with a
// power cut. It says by which signs FateOf can tell that the run is dead.
func (j *Journal) Badge() (string, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(j.file.Fd()), &stat); err != nil {
		return "", err
	}
	boot, processes, err := here()
	// The directory comes last: it alone may hold spaces.
	return fmt.Sprintf("%s %s %s %d %d %s", j.id, boot, processes, stat.Ino, Owners(), filepath.Dir(j.path)), err
}

// Fate is what can be told of a run by its badge.
type Fate int

const (
	Unknown  Fate = iota // it is to be taken for alive, and no more can be told from here, now or later
	Alive                // or it may be: whether it has ended can be told later
	Orphaned             // it is dead and its journal is lost, so that nobody else will reclaim what has the badge
)

// FateOf tells what became of the run with this badge, if it has lost its journal. While that is there, it says more. Unknown are
// runs of another run root, of another container, and those that had more owners mapped.
func FateOf(ctx context.Context, badge, dir string) Fate {
	words := strings.SplitN(badge, " ", 6)
	if len(words) < 6 || words[5] != dir || !isID(words[0]) {
		return Unknown
	}
	if _, err := os.Lstat(filepath.Join(dir, words[0])); !os.IsNotExist(err) {
		return Unknown
	}
	inode, err := strconv.ParseUint(words[3], 10, 64)
	if err != nil {
		return Unknown
	}
	if owners, err := strconv.Atoi(words[4]); err != nil || owners > Owners() {
		return Unknown
	}
	boot, processes, err := here()
	switch {
	case err != nil:
		return Alive
	case words[1] != boot:
		return Orphaned
	case words[2] != processes:
		return Unknown
	// The same boot: somebody has cleared the run root, perhaps under a run that lives and holds the lock of a file without a
	// name.
	case heldNameless(ctx, inode, dir):
		return Alive
	}
	return Orphaned
}

// heldNameless tells whether a run holds the lock of the journal with this number, which has no name in dir any more. The number may
// have been given out anew, in a new run root above all, so there have to be more locks than dir accounts for. When in doubt
// there are.
func heldNameless(ctx context.Context, inode uint64, dir string) bool {
	accounted := 0
	unlock, err := Lock(ctx, dir) // no journal begins between the two looks
	if err == nil {
		defer unlock()
		var stat unix.Stat_t
		if unix.Lstat(dir, &stat) == nil && stat.Ino == inode {
			accounted++ // this very lock
		}
	} else if !os.IsNotExist(err) {
		return true
	}
	holders, err := LockHolders("FLOCK", inode)
	if err != nil {
		return true
	}
	names, _ := list(dir) // none is as good
	for _, name := range names {
		var stat unix.Stat_t
		if unix.Lstat(filepath.Join(dir, name), &stat) == nil && stat.Ino == inode && Live(dir, name) {
			accounted++
		}
	}
	return len(holders) > accounted
}

// here returns what tells this boot and this namespace of processes from others.
func here() (boot, processes string, err error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", "", err
	}
	processes, err = os.Readlink("/proc/self/ns/pid")
	return strings.TrimSpace(string(text)), processes, err
}
