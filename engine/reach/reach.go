// Package reach says what keeps this process from a path: which of its components, and why. Inside a user namespace that
// takes explaining, since root of the namespace may pass wherever owner and group are mapped, and nowhere else.
package reach

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What a path is wanted for, as access(2) takes it.
const (
	Read   = unix.R_OK
	Write  = unix.W_OK
	Search = unix.X_OK // of a directory; of a file, to execute it
)

// Obstacle is the first component of a path that refuses.
type Obstacle struct {
	Path     string        // the component, absolute, symbolic links on the way resolved
	Missing  bool          // it doesn't exist
	Dangling string        // the target of a symbolic link that leads to nothing, or ""
	NotDir   bool          // it isn't a directory, and there is more behind it
	ReadOnly bool          // it is on a file system that is mounted read-only
	Mode     fs.FileMode   // zero when it is missing
	UID, GID int           // of its owners, as this namespace shows them
	Unmapped bool          // owner or group isn't mapped in this namespace
	Errno    syscall.Errno // what the kernel answered
}

// MostLinks is how many symbolic links a path may lead over, the kernel's own bound.
const MostLinks = 40

// Find returns what keeps this process from path for what is wanted of it, or nil if nothing does.
func Find(path string, want uint32) *Obstacle {
	path, err := filepath.Abs(path)
	if err != nil {
		return &Obstacle{Path: path, Errno: errno(err)}
	}
	at, rest, links := "/", Components(path), 0
	for {
		if len(rest) > 0 {
			if err := unix.Access(at, unix.X_OK); err != nil {
				return examine(at, errno(err))
			}
		} else {
			if err := unix.Access(at, want); err != nil {
				return examine(at, errno(err))
			}
			return nil
		}
		next := filepath.Join(at, rest[0])
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &Obstacle{Path: next, Missing: true, Errno: unix.ENOENT}
		case err != nil:
			return examine(next, errno(err))
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(next)
			if err != nil {
				return examine(next, errno(err))
			}
			if links++; links > MostLinks {
				return &Obstacle{Path: next, Errno: unix.ELOOP}
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			if _, err := os.Stat(next); errors.Is(err, fs.ErrNotExist) {
				return &Obstacle{Path: next, Missing: true, Dangling: target, Errno: unix.ENOENT}
			}
			rest = append(Components(target), rest[1:]...)
		case !info.IsDir() && len(rest) > 1:
			return &Obstacle{Path: next, NotDir: true, Mode: info.Mode(), Errno: unix.ENOTDIR}
		default:
			at, rest = next, rest[1:]
		}
	}
}

// examine describes the component that refused.
func examine(path string, refused syscall.Errno) *Obstacle {
	o := &Obstacle{Path: path, Errno: refused, ReadOnly: refused == unix.EROFS}
	info, err := os.Lstat(path)
	if err != nil {
		return o
	}
	o.Mode = info.Mode()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		o.UID, o.GID = int(st.Uid), int(st.Gid)
	}
	// Root of the namespace passes every check of permission bits where both owners are mapped, so a refusal is a sign that
	// one isn't: it shows as the overflow ID. That this ID may be mapped as well makes it no proof by itself.
	o.Unmapped = refused == unix.EACCES && (o.UID == overflow("uid") || o.GID == overflow("gid"))
	return o
}

// Error says what refuses, as the rest of a sentence about the whole path.
func (o *Obstacle) Error() string {
	switch {
	case o.Dangling != "":
		return fmt.Sprintf("%s is a symbolic link to %s, which doesn't exist", o.Path, o.Dangling)
	case o.Missing:
		return o.Path + " doesn't exist"
	case o.NotDir:
		return o.Path + " isn't a directory"
	case o.ReadOnly:
		return o.Path + " is on a file system that is mounted read-only"
	case o.Unmapped:
		return fmt.Sprintf("%s (mode %04o) belongs to %s that isn't mapped in the user namespace, so not even its root may pass",
			o.Path, o.Mode.Perm(), o.Who())
	}
	return fmt.Sprintf("%s: %v", o.Path, o.Errno)
}

// Unwrap returns what the kernel answered.
func (o *Obstacle) Unwrap() error { return o.Errno }

// Who names the kind of ID that isn't mapped: "a user", "a group", or both.
func (o *Obstacle) Who() string {
	user, group := o.UID == overflow("uid"), o.GID == overflow("gid")
	switch {
	case user && group:
		return "a user and a group"
	case group:
		return "a group"
	}
	return "a user"
}

// Overflow returns the user and the group that stand for all those without an ID in this namespace.
func Overflow() (user, group int) { return overflow("uid"), overflow("gid") }

// overflow returns the ID that stands for all those that aren't mapped.
func overflow(kind string) int {
	id := 65534
	if text, err := os.ReadFile("/proc/sys/kernel/overflow" + kind); err == nil {
		_, _ = fmt.Sscan(string(text), &id) // a file of the kernel's
	}
	return id
}

// Within tells whether a path is dir, or below it, by their names alone. Both are clean.
func Within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// Components are the parts of a path, those out of "." left out.
func Components(path string) []string {
	var parts []string
	for _, part := range strings.Split(path, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

func errno(err error) syscall.Errno {
	var e syscall.Errno
	errors.As(err, &e)
	return e
}
