package output

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/sys/unix"
)

// What a capture holds at most: in memory, on disk, and of the end that an error quotes; bytes.
const (
	inMemory  = 64 << 10
	onDisk    = 64 << 20
	tailBytes = 4 << 10
)

// Capture keeps what one stream of a command prints: the first 64 KiB in memory, the first 64 MiB on disk, in a file
// that has no name and so can't be left behind.
type Capture struct {
	dir  string
	mu   sync.Mutex
	head []byte
	file *os.File
	size int64
	tail []byte
	err  error // the first failure to keep something; Text returns it
}

// NewCapture returns an empty capture that spills into dir.
func NewCapture(dir string) *Capture { return &Capture{dir: dir} }

// Write keeps p, or the part of it that fits. It fails only when the disk does, and from then on.
func (c *Capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.write(p)
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

func (c *Capture) write(p []byte) (int, error) {
	c.tail = append(c.tail, p...)
	if extra := len(c.tail) - tailBytes; extra > 0 {
		c.tail = append([]byte(nil), c.tail[extra:]...)
	}
	offset := c.size
	c.size += int64(len(p))
	if c.file == nil && c.size <= inMemory {
		c.head = append(c.head, p...)
		return len(p), nil
	}
	if c.err != nil || offset >= onDisk {
		return len(p), c.err
	}
	if c.file == nil {
		if err := c.spill(); err != nil {
			return 0, err
		}
	}
	fits := p[:min(int64(len(p)), onDisk-offset)]
	if _, err := c.file.WriteAt(fits, offset); err != nil {
		return 0, fmt.Errorf("keeping a command's output in %s: %w", c.dir, err)
	}
	return len(p), nil
}

// spill moves the capture from memory to a nameless file.
func (c *Capture) spill() error {
	fd, err := unix.Open(c.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		c.file = os.NewFile(uintptr(fd), "captured output")
	} else { // a file system without O_TMPFILE: the name lives for a moment
		file, err := os.CreateTemp(c.dir, "output-")
		if err != nil {
			return fmt.Errorf("keeping a command's output: %w", err)
		}
		if err := os.Remove(file.Name()); err != nil {
			return fmt.Errorf("keeping a command's output: %w", err)
		}
		c.file = file
	}
	if _, err := c.file.WriteAt(c.head, 0); err != nil {
		return fmt.Errorf("keeping a command's output in %s: %w", c.dir, err)
	}
	c.head = nil
	return nil
}

// Text returns all that was written. It fails when that was more than a capture holds, or could not be kept.
func (c *Capture) Text() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return "", c.err
	}
	if c.size > onDisk {
		return "", fmt.Errorf("the command printed %d MiB here and only %d MiB are kept", c.size>>20, onDisk>>20)
	}
	if c.file == nil {
		return string(c.head), nil
	}
	text := make([]byte, c.size)
	if _, err := c.file.ReadAt(text, 0); err != nil {
		return "", fmt.Errorf("reading a command's kept output: %w", err)
	}
	return string(text), nil
}

// Size returns how many bytes were written.
func (c *Capture) Size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// Tail returns the last n lines that aren't blank, oldest first.
func (c *Capture) Tail(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(string(bytes.ToValidUTF8(c.tail, nil)), "\n")
	if c.size > int64(len(c.tail)) && len(lines) > 1 {
		lines = lines[1:] // cut off at the front
	}
	var kept []string
	for _, line := range lines {
		line = Printable(strings.TrimRightFunc(line, unicode.IsSpace))
		if line = strings.TrimRightFunc(line, unicode.IsSpace); line != "" { // blanks before what isn't shown
			kept = append(kept, line)
		}
	}
	return kept[max(0, len(kept)-n):]
}

// Close frees the disk space.
func (c *Capture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}
