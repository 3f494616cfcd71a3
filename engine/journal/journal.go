// Package journal keeps the record of what each run owns outside of itself, so that what a run leaves that died can be told
// from what a run has that lives.
//
// A journal is a file in a directory that all runs of one user share, and its run holds a lock on it (flock(2)) until it
// ends. The kernel takes the lock away when the last process that has the file open is gone, however that happened, and at the
// latest with a power cut: a journal that can be locked is a dead run's. Process IDs, which are given out anew, aren't asked.
package journal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is what an entry is about. The words after it are the entry's.
type Kind string

const (
	Container Kind = "container" // ID, LAYER: a container that goes with the run
	Kept      Kind = "kept"      // ID: it doesn't any more
	Used      Kind = "used"      // ID: somebody else's, which the run works with
	Layer     Kind = "layer"     // ID: made for an image, which may not have come into being
	Image     Kind = "image"     // ID, NAME…: an image that is being entered into the store, and names it has for a moment
	Whole     Kind = "whole"     // ID: it has its name, and is there to stay
	Mounted   Kind = "mounted"   // ID: an image, or a container that doesn't go with the run, which the run has mounted or had
	Temporary Kind = "temporary" // PATH: a file, or a directory with all that is in it
	Runtime   Kind = "runtime"   // PROGRAM, DIR: an OCI runtime, and where it keeps its state
	store     Kind = "store"     // ROOT, DRIVER, OWNERS: the first line
)

// Entry is one line of a journal.
type Entry struct {
	Kind  Kind
	Words []string
}

// Header says what a run works on, and how far it reaches.
type Header struct {
	Root, Driver string // of the store
	Owners       int    // how many user IDs are mapped; files of owners that aren't can't be deleted
}

func (h Header) entry() Entry {
	return Entry{store, []string{h.Root, h.Driver, strconv.Itoa(h.Owners)}}
}

// Owners returns how many user IDs are mapped in this process's user namespace, at least one.
func Owners() int {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return 1
	}
	total := 0
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 { // user_namespaces(7)
			size, _ := strconv.Atoi(fields[2]) // the kernel writes it
			total += size
		}
	}
	return max(total, 1)
}

// Journal is the journal of a run that lives. Its methods may be called at the same time, and those of a nil one do nothing.
type Journal struct {
	id, path string
	ctx      context.Context // ends the waiting for others

	mu     sync.Mutex
	file   *os.File // nil when it has ended
	marked bool
}

// Begin opens a journal in dir, which is made if need be. Whoever sees the file sees its lock. Others are waited for, here and by
// Use, until ctx ends. End it.
func Begin(ctx context.Context, dir string, h Header) (j *Journal, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	unlock, err := Lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	j = &Journal{id: rand.Text(), ctx: ctx}
	j.path = filepath.Join(dir, j.id)
	// O_CLOEXEC by default: no process that the run starts holds the lock.
	if j.file, err = os.OpenFile(j.path, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	if err := errors.Join(flock(j.file, unix.LOCK_EX), j.Note(store, h.entry().Words...)); err != nil {
		return nil, errors.Join(err, j.End())
	}
	return j, nil
}

// ID returns the run's name, 26 letters and digits that no other run has.
func (j *Journal) ID() string {
	if j == nil {
		return ""
	}
	return j.id
}

// Note adds an entry. It is there for others when Note returns, and so has to be made before what it is about, which the kill of
// the run may come between.
//
// It isn't written to the disk: what is lost with the machine's memory is the journal with the run root, most of the time.
func (j *Journal) Note(kind Kind, words ...string) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil { // a call of a library goes on that the run has given up
		return fmt.Errorf("noting what this run owns: %w", fs.ErrClosed)
	}
	if _, err := j.file.Write(line(Entry{kind, words})); err != nil {
		return fmt.Errorf("noting what this run owns: %w", err)
	}
	return nil
}

// End lets go of the journal and deletes it. What it names must be gone or somebody else's by now; where something couldn't be
// taken away, leave the journal to end with the process, for a later run to try again.
func (j *Journal) End() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	file := j.file
	j.file = nil
	if j.marked {
		_ = unix.Unmount(j.path, unix.MNT_DETACH) // it isn't mounted any more if somebody has cleared the run root
	}
	err := os.Remove(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, file.Close())
}

// Lock keeps others from beginning journals and from looking for dead ones, until unlock is called. Whoever does it now is waited
// for until ctx ends.
func Lock(ctx context.Context, dir string) (unlock func(), err error) {
	file, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	if err := Acquire(ctx, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil // with which the lock goes
}

// lockPause is the longest time between two attempts at a lock.
const lockPause = 50 * time.Millisecond

// Acquire takes the lock of a file, which goes when it is closed. It waits for it until ctx ends: the kernel's own wait couldn't be
// given up.
func Acquire(ctx context.Context, file *os.File) error {
	for pause := time.Millisecond; ; pause = min(2*pause, lockPause) {
		err := flock(file, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// ErrUnsafe is the cause of the error about a directory in which others could write journals: what those name is deleted.
var ErrUnsafe = errors.New("journals there can't be trusted")

// openDir opens a directory of journals, if nobody but this user could have made what is in it.
func openDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err = unix.Fstat(int(file.Fd()), &stat); err == nil {
		switch {
		case int(stat.Uid) != os.Geteuid():
			err = fmt.Errorf("%w: the directory belongs to another user (%d)", ErrUnsafe, stat.Uid)
		case stat.Mode&0o022 != 0:
			err = fmt.Errorf("%w: others can write to the directory (mode %04o)", ErrUnsafe, stat.Mode&0o7777)
		}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// ours tells whether an open file is a regular one of this user's.
func ours(file *os.File) bool {
	var stat unix.Stat_t
	return unix.Fstat(int(file.Fd()), &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && int(stat.Uid) == os.Geteuid()
}

func flock(file *os.File, how int) error {
	for {
		if err := unix.Flock(int(file.Fd()), how); err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}

// line writes an entry. Its words can hold anything, so they are quoted.
func line(e Entry) []byte {
	text := []byte(e.Kind)
	for _, word := range e.Words {
		text = strconv.AppendQuote(append(text, ' '), word)
	}
	return append(text, '\n')
}

// read reads the entries of a journal. A line that isn't whole, the last one of a machine that lost its power perhaps, is left
// out.
func read(r io.Reader) (entries []Entry, err error) {
	text, err := io.ReadAll(r)
	for line := range bytes.Lines(text) {
		if e, ok := parse(strings.TrimSuffix(string(line), "\n")); ok && len(e.Words) > 0 {
			entries = append(entries, e)
		}
	}
	return entries, err
}

func parse(line string) (e Entry, ok bool) {
	kind, rest, _ := strings.Cut(line, " ")
	e.Kind = Kind(kind)
	for rest != "" {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return e, false
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return e, false
		}
		e.Words = append(e.Words, word)
		rest = strings.TrimPrefix(rest[len(quoted):], " ")
	}
	return e, true
}

// Use notes that the run works with something that isn't its own, and that a dead run may have left or have used as well. Whoever
// reclaims that run's things sees the note, or has done it before Use returns.
func (j *Journal) Use(kind Kind, id string) error {
	if j == nil {
		return nil
	}
	unlock, err := Lock(j.ctx, filepath.Dir(j.path))
	if err != nil {
		return fmt.Errorf("noting what this run uses: %w", err)
	}
	defer unlock()
	return j.Note(kind, id)
}
