package journal

import (
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

// Orphaned tells whether the run with this badge is dead and its journal lost, so that nobody else will reclaim what has the
// badge. Runs whose end can't be known from here are taken for alive: those of another run root, of another container,
// and those that had more owners mapped.
func Orphaned(badge, dir string) bool {
	words := strings.SplitN(badge, " ", 6)
	if len(words) < 6 || words[5] != dir || !isID(words[0]) {
		return false
	}
	if owners, err := strconv.Atoi(words[4]); err != nil || owners > Owners() {
		return false
	}
	boot, processes, err := here()
	if err != nil {
		return false
	}
	if _, err := os.Lstat(filepath.Join(dir, words[0])); !os.IsNotExist(err) {
		return false // its journal is there, dead or alive
	}
	if words[1] != boot {
		return true
	}
	// The same boot: somebody has cleared the run root, perhaps under a run that lives and holds the lock of a file without a
	// name.
	return words[2] == processes && (!heldLock(words[3]) || reused(words[3], dir))
}

// reused tells whether the number of a file that is gone is now that of a journal, whose lock is its own.
func reused(inode, dir string) bool {
	names, _ := list(dir) // none is as good
	for _, name := range names {
		var stat unix.Stat_t
		if unix.Lstat(filepath.Join(dir, name), &stat) == nil && strconv.FormatUint(stat.Ino, 10) == inode {
			return true
		}
	}
	return false
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
