package rootfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Info describes one file.
type Info struct {
	Mode     fs.FileMode // type, permissions, setuid, setgid, sticky
	UID, GID int
	Size     int64 // in bytes; what the kernel reports, so the target's length for a link and 0 for most of /proc
	ModTime  time.Time
	Link     string // what a link holds, verbatim; "" for everything else
}

// Bits returns the twelve permission bits as chmod(2) has them: 0o4755, not fs.ModeSetuid|0o755.
func (i Info) Bits() uint32 { return bits(i.Mode) }

// Stat describes what name leads to.
func (f *FS) Stat(name string) (Info, error) {
	handle, err := f.follow(name)
	if err != nil {
		return Info{}, failed("stat", name, err)
	}
	defer handle.Close()
	info, err := stat(handle)
	return info, failed("stat", name, err)
}

// Lstat describes name itself, a link included.
func (f *FS) Lstat(name string) (Info, error) {
	handle, err := f.entry(name)
	if err != nil {
		return Info{}, failed("lstat", name, err)
	}
	defer handle.Close()
	info, err := stat(handle)
	return info, failed("lstat", name, err)
}

func stat(handle *os.File) (Info, error) {
	st, err := handle.Stat()
	if err != nil {
		return Info{}, err
	}
	sys := st.Sys().(*syscall.Stat_t)
	info := Info{Mode: st.Mode(), UID: int(sys.Uid), GID: int(sys.Gid), Size: st.Size(), ModTime: st.ModTime()}
	if info.Mode.Type() == fs.ModeSymlink {
		info.Link, err = readlinkat(handle, "")
	}
	return info, err
}

// Readlink returns what the link name holds, verbatim. It fails with EINVAL when name isn't a link.
func (f *FS) Readlink(name string) (string, error) {
	handle, err := f.entry(name)
	if err != nil {
		return "", failed("readlink", name, err)
	}
	defer handle.Close()
	if st, err := handle.Stat(); err != nil {
		return "", failed("readlink", name, err)
	} else if st.Mode().Type() != fs.ModeSymlink {
		return "", failed("readlink", name, fmt.Errorf("is %s, not a link: %w", kind(st.Mode()), unix.EINVAL))
	}
	target, err := readlinkat(handle, "")
	return target, failed("readlink", name, err)
}

// readlinkat reads the link base in dir, or, when base is "", the link that dir itself is a descriptor of.
func readlinkat(dir *os.File, base string) (string, error) {
	buffer := make([]byte, unix.PathMax) // no link can hold more
	var n int
	err := retry(func() (err error) {
		n, err = unix.Readlinkat(int(dir.Fd()), base, buffer)
		return err
	})
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// OpenFile opens the regular file that name leads to for reading. The caller closes it. A pipe, device, socket or directory
// is refused without being opened.
func (f *FS) OpenFile(name string) (*os.File, error) {
	handle, err := f.follow(name)
	if err != nil {
		return nil, failed("read", name, err)
	}
	defer handle.Close()
	file, err := openRegular(handle, os.O_RDONLY)
	if err != nil {
		return nil, failed("read", name, err)
	}
	return file, nil
}

// ReadFile returns the content of the regular file that name leads to. A file of more than limit bytes is an error; a
// limit of 0 or less is none. A pipe, device, socket or directory is refused without being opened.
func (f *FS) ReadFile(name string, limit int64) ([]byte, error) {
	file, err := f.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := io.Reader(file)
	if limit > 0 {
		// One byte more tells "too long" from "just fits", and the size that stat reports isn't to be trusted: the
		// file may grow, and those in /proc have none.
		reader = io.LimitReader(file, limit+1)
	}
	data, err := io.ReadAll(reader)
	if err == nil && limit > 0 && int64(len(data)) > limit {
		err = fmt.Errorf("is longer than %d bytes", limit)
	}
	if err != nil {
		return nil, failed("read", name, err)
	}
	return data, nil
}

// openRegular opens the object behind an O_PATH descriptor when it is a regular file. Opening anything else can block
// (a pipe) or act (a device), so it is refused before.
func openRegular(handle *os.File, flags int) (*os.File, error) {
	st, err := handle.Stat()
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, unix.EISDIR
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("is %s, not a regular file", kind(st.Mode()))
	}
	return reopen(handle, flags)
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "a regular file"
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a link"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}

// ReadDir returns the names in the directory that name leads to, sorted, without "." and "..".
func (f *FS) ReadDir(name string) ([]string, error) {
	handle, err := f.follow(name)
	if err != nil {
		return nil, failed("list", name, err)
	}
	defer handle.Close()
	names, err := list(handle)
	return names, failed("list", name, err)
}

// list returns the sorted names in the directory handle. It reads names only: os.File.ReadDir may lstat entries by
// path.
func list(handle *os.File) ([]string, error) {
	dir, err := openat(handle, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// Resolve returns where name leads, all links followed, as a name without links. Something must be there. The answer
// is true for the moment it is given: for code that needs a path (a message, a command's argument), never as a check
// before another call.
func (f *FS) Resolve(name string) (string, error) {
	handle, err := f.follow(name)
	if err != nil {
		return "", failed("resolve", name, err)
	}
	defer handle.Close()
	// Both paths come from the kernel, so they agree even when the root was renamed since Open.
	root, err := os.Readlink(self(f.root))
	if err != nil {
		return "", failed("resolve", name, err)
	}
	full, err := os.Readlink(self(handle))
	if err != nil {
		return "", failed("resolve", name, err)
	}
	rel, err := filepath.Rel(root, full)
	if err != nil || !filepath.IsLocal(rel) || strings.HasSuffix(full, " (deleted)") {
		// Something moved it away or deleted it between the two calls. A file really named "x (deleted)" lands here
		// too: the kernel's text is ambiguous, and refusing is the safe reading.
		return "", failed("resolve", name, unix.ESTALE)
	}
	return rel, nil
}
