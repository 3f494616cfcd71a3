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
// power cut. It says by which signs Orphaned can tell that the run is dead.
func (j *Journal) Badge() (string, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(j.file.Fd()), &stat); err != nil {
		return "", err
	}
	boot, processes, err := here()
	// The directory comes last: it alone may hold spaces.
	return fmt.Sprintf("%s %s %s %d %d %s", j.id, boot, processes, stat.Ino, Owners(), filepath.Dir(j.path)), err
}

// Lost tells whether the run with this badge has no journal in dir, where it had one. It may live all the same.
func Lost(badge, dir string) bool {
	id, _, _ := strings.Cut(badge, " ")
	if !isID(id) || !strings.HasSuffix(badge, " "+dir) {
		return false
	}
	_, err := os.Lstat(filepath.Join(dir, id))
	return os.IsNotExist(err)
}

// Orphaned tells whether the run with this badge is dead and its journal lost, so that nobody else will reclaim what has the
// badge. Runs whose end can't be known from here are taken for alive: those of another run root, of another container,
// and those that had more owners mapped.
func Orphaned(ctx context.Context, badge, dir string) bool {
	words := strings.SplitN(badge, " ", 6)
	if len(words) < 6 || words[5] != dir || !Lost(badge, dir) {
		return false // dead or alive, if its journal is there
	}
	inode, err := strconv.ParseUint(words[3], 10, 64)
	if err != nil {
		return false
	}
	if owners, err := strconv.Atoi(words[4]); err != nil || owners > Owners() {
		return false
	}
	boot, processes, err := here()
	if err != nil {
		return false
	}
	if words[1] != boot {
		return true
	}
	// The same boot: somebody has cleared the run root, perhaps under a run that lives and holds the lock of a file without a
	// name.
	return words[2] == processes && !heldNameless(ctx, inode, dir)
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
