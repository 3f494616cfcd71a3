package transfer

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const ima = "security.ima"

// carried tells whether an extended attribute comes along. Others belong to a file's place, like an SELinux label or
// overlay's own notes.
func carried(name string) bool {
	if ok, _ := path.Match("user.overlay.*", name); ok {
		return false
	}
	ok, _ := path.Match("user.*", name)
	return ok || name == "security.capability" || name == ima
}

// copyAttributes copies the extended attributes that are carried. A user namespace can't give a file security.ima, and
// then the copy has none.
func copyAttributes(to, from *os.File) error {
	names, err := attributes(from)
	if err != nil {
		return fmt.Errorf("listing extended attributes: %w", err)
	}
	for _, name := range names {
		if !carried(name) {
			continue
		}
		value, err := grown(func(buffer []byte) (int, error) { return unix.Fgetxattr(int(from.Fd()), name, buffer) })
		if err != nil {
			return fmt.Errorf("reading the extended attribute %s: %w", name, err)
		}
		err = unix.Fsetxattr(int(to.Fd()), name, value, 0)
		if err != nil && !(name == ima && errors.Is(err, unix.EPERM)) {
			return fmt.Errorf("setting the extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// attributes returns the names of a file's extended attributes.
func attributes(file *os.File) ([]string, error) {
	// Nearly every file has none, and asking for the size alone costs nothing.
	n, err := unix.Flistxattr(int(file.Fd()), nil)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := grown(func(buffer []byte) (int, error) { return unix.Flistxattr(int(file.Fd()), buffer) })
	return strings.Split(string(list), "\x00"), err
}

// grown reads what has a size that may grow between asking for it and reading it.
func grown(read func(buffer []byte) (int, error)) ([]byte, error) {
	for size := 1 << 10; ; size *= 4 {
		buffer := make([]byte, size)
		n, err := read(buffer)
		if !errors.Is(err, unix.ERANGE) || size > 1<<20 { // no attribute is larger than 64 KB (xattr(7))
			return buffer[:max(n, 0)], err
		}
	}
}
