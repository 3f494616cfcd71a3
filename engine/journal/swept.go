package journal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// sweptMark is the name of the file that says that a store has been searched, and in which boot: a run root on a disk can keep
// it through a power cut that takes journals.
func sweptMark(h Header) string {
	return fmt.Sprintf(".swept-%.16x", sha256.Sum256([]byte(h.Root+"\x00"+h.Driver)))
}

// Swept tells whether the store has been searched for what runs without a journal have left (see FateOf), since dir and the
// journals in it were there and the machine was started. When in doubt it hasn't.
func Swept(dir string, h Header) bool {
	file, err := openMark(dir, h, unix.O_RDONLY)
	if err != nil {
		return false
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 1<<10))
	boot, _, bootErr := here()
	return errors.Join(err, bootErr) == nil && ours(file) && strings.TrimSuffix(string(text), "\n") == boot
}

// MarkSwept notes that it has been, and that nothing was left.
func MarkSwept(dir string, h Header) error {
	boot, _, err := here()
	if err != nil {
		return err
	}
	file, err := openMark(dir, h, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = file.WriteString(boot + "\n")
	return errors.Join(err, file.Close())
}

// openMark opens the mark in a directory that nobody else can write to.
func openMark(dir string, h Header, flags int) (*os.File, error) {
	parent, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	name := sweptMark(h)
	fd, err := unix.Openat(int(parent.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
