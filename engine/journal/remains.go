package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Remains are the journal of a dead run, locked: no other run looks at it until Discard, Keep or Release.
type Remains struct {
	ID string
	Header
	Entries []Entry

	path string
	file *os.File
}

// Dead returns the journals in dir whose runs are dead, and takes their locks. Of several processes that look at the same time one
// gets each. A directory that isn't there has none. Those that can't be read are passed over: the error tells of them, and the
// others are returned all the same.
func Dead(ctx context.Context, dir string) (dead []*Remains, err error) {
	names, err := list(dir)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	unlock, err := Lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, name := range names {
		r, claimErr := claim(dir, name)
		if claimErr != nil {
			err = errors.Join(err, fmt.Errorf("the journal %s: %w", name, claimErr))
		} else if r != nil {
			dead = append(dead, r)
		}
	}
	return dead, err
}

// list returns the names of the journals in dir.
func list(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		if isID(entry.Name()) && entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// isID tells whether a name is one that rand.Text makes: letters and digits of base 32, 130 bits.
func isID(name string) bool {
	return len(name) == 26 && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// claim takes the lock of a journal, or returns nil if its run lives or it is gone.
func claim(dir, name string) (*Remains, error) {
	r := &Remains{ID: name, path: filepath.Join(dir, name)}
	var err error
	r.file, err = os.OpenFile(r.path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if !ours(r.file) {
		return nil, errors.Join(fmt.Errorf("%w: it isn't a file of this user's", ErrUnsafe), r.file.Close())
	}
	if err := flock(r.file, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, r.file.Close()
	} else if err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(r.file.Fd()), &stat); err != nil || stat.Nlink == 0 { // its run has just ended
		return nil, errors.Join(err, r.file.Close())
	}
	if r.Entries, err = read(r.file); err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	if len(r.Entries) > 0 && r.Entries[0].Kind == store && len(r.Entries[0].Words) == 3 {
		words := r.Entries[0].Words
		r.Header = Header{Root: words[0], Driver: words[1]}
		r.Owners, _ = strconv.Atoi(words[2]) // a run wrote it
		r.Entries = r.Entries[1:]
	} else {
		r.Entries = nil // it was killed before it owned anything
	}
	return r, nil
}

// Discard deletes the journal: nothing is left of what it names.
func (r *Remains) Discard() error { return errors.Join(os.Remove(r.path), r.file.Close()) }

// Keep leaves these entries in the journal, for another try later.
func (r *Remains) Keep(entries []Entry) error {
	text := line(r.entry())
	for _, e := range entries {
		text = append(text, line(e)...)
	}
	// It only gets shorter. Cut after it is written: whoever is killed in between leaves entries that were dealt with, which does
	// no harm.
	_, err := r.file.WriteAt(text, 0)
	if err == nil {
		err = r.file.Truncate(int64(len(text)))
	}
	return errors.Join(err, r.file.Close())
}

// Release leaves the journal as it was.
func (r *Remains) Release() { _ = r.file.Close() }

// InUse returns what live runs have noted with Use; those that the caller has claimed aren't. The caller has the directory
// locked, so that nothing is added meanwhile.
func InUse(dir string, kind Kind, claimed map[string]bool) (map[string]bool, error) {
	names, err := list(dir)
	used := map[string]bool{}
	for _, name := range names {
		if claimed[name] {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Contains(text, []byte(kind)) {
			continue // ended just now, or needs nothing of others
		}
		if !Live(dir, name) {
			continue
		}
		entries, _ := read(bytes.NewReader(text)) // memory doesn't fail
		for _, e := range entries {
			if e.Kind == kind {
				used[e.Words[0]] = true
			}
		}
	}
	return used, err
}

// Live tells whether the run of that ID lives, by its journal in dir. When in doubt it does. But in a directory that others can
// write to, and of a name that isn't a journal's file, it doesn't: other processes choose the path, and nothing they put there
// is waited for.
func Live(dir, id string) bool {
	parent, err := openDir(dir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrUnsafe) && !errors.Is(err, unix.ENOTDIR)
	}
	defer parent.Close()
	fd, err := unix.Openat(int(parent.Fd()), id, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err != unix.ENOENT && err != unix.ELOOP
	}
	file := os.NewFile(uintptr(fd), id)
	defer file.Close()
	if !ours(file) {
		return false
	}
	// Shared: two that ask at the same time don't take each other for the run.
	return flock(file, unix.LOCK_SH|unix.LOCK_NB) != nil
}
