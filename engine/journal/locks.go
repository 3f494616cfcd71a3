package journal

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// Locks are read this often: the kernel hands the list out in pieces, and when one goes another can slip through between two
// pieces.
const lockReadings = 3

// LockHolders returns the IDs of the processes that have a lock of this kind, "FLOCK" or "POSIX", on the file of this number,
// whether it has a name or not, once for each lock. Those that can't be seen from here are left out. The file's device isn't
// compared: file systems with subvolumes show another one to stat(2).
func LockHolders(kind string, inode uint64) (holders []string, err error) {
	for range lockReadings {
		now, err := lockHolders(kind, ":"+strconv.FormatUint(inode, 10))
		if err != nil {
			return nil, err
		}
		if len(now) > len(holders) {
			holders = now
		}
	}
	return holders, nil
}

func lockHolders(kind, inode string) (holders []string, err error) {
	file, err := os.Open("/proc/locks")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var text bytes.Buffer
	text.Grow(1 << 20) // few pieces
	if _, err := text.ReadFrom(file); err != nil {
		return nil, err
	}
	for line := range strings.Lines(text.String()) {
		// "1: POSIX  ADVISORY  WRITE 4711 fe:00:12345 0 EOF", with "->" behind the number for those who wait: proc_locks(5)
		fields := strings.Fields(line)
		if len(fields) > 5 && fields[1] == kind && strings.HasSuffix(fields[5], inode) {
			holders = append(holders, fields[4])
		}
	}
	return holders, nil
}
