// Package filesystem says what the kernel tells of the file system that a path is on: its kind, how it is mounted and what is
// left of it.
package filesystem

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Info is what statfs(2) says.
type Info struct {
	Type             int64  // its number: unix.TMPFS_MAGIC and the like
	Flags            int64  // of the mount: unix.ST_NOEXEC and the like
	Free, Total      uint64 // bytes; Free is what anybody gets
	FreeFiles, Files uint64 // inodes that are free, and all; 0 and 0 where they are made as needed
}

// Of describes the file system that a path is on, links followed. Errors are the kernel's own.
func Of(path string) (Info, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Info{}, err
	}
	return info(&st), nil
}

// OfFile describes the file system that an open file is on.
func OfFile(file *os.File) (Info, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return Info{}, err
	}
	return info(&st), nil
}

func info(st *unix.Statfs_t) Info {
	block := uint64(max(st.Bsize, 1))
	return Info{
		Type: int64(st.Type), Flags: int64(st.Flags), Free: st.Bavail * block, Total: st.Blocks * block,
		FreeFiles: st.Ffree, Files: st.Files,
	}
}

// Has tells whether it is mounted with a flag, such as unix.ST_NOEXEC.
func (i Info) Has(flag int64) bool { return i.Flags&flag != 0 }

// NoFiles tells whether it takes no more files, however small.
func (i Info) NoFiles() bool { return i.Files > 0 && i.FreeFiles == 0 }

// Size writes a number of bytes for people: "1.5 GiB".
func Size(bytes uint64) string {
	const unit = 1024
	value, names := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for value >= unit && len(names) > 1 {
		value, names = value/unit, names[1:]
	}
	if value == float64(uint64(value)) || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, names[0])
	}
	return fmt.Sprintf("%.1f %s", value, names[0])
}
