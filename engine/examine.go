package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/filesystem"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/store"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// ground is a directory that the run can't do without.
type ground struct {
	dir          string
	full, closed *trouble.Trouble // what it is when there is no room, and when it is read-only

	began  fs.FileInfo      // the directory that it was at first; nil where another does as well
	absent *trouble.Trouble // what it is when it is gone
}

// grounds are the run's, those first that are most often full. A zero Builder has none.
func (b *Builder) grounds() []ground {
	if b.options.Store == nil {
		return nil
	}
	return []ground{
		{b.options.Store.Choice.Root, trouble.StoreFull, trouble.StoreReadOnly, b.began.root, trouble.StoreGone},
		{b.options.TempDir, trouble.TempFull, trouble.TempReadOnly, b.began.temp, trouble.TempGone},
		{b.options.Store.Choice.RunRoot, trouble.RunRootFull, trouble.RunRootReadOnly, nil, nil},
	}
}

// Examine looks whether a verb, op, failed because one of the run's directories is full, read-only or gone, and then says
// which and what to do. All other errors it returns as they are. What a command printed is a reason to look, and no more:
// it may have filled a place of its own.
func (b *Builder) Examine(op string, err error) error {
	known := &failure.Error{Op: op, Err: err}
	errors.As(err, &known)
	if known.Err == nil {
		return err
	}
	why := withoutSubject(known.Err.Error(), known.Subject) // which may be called anything
	said := strings.ToLower(why)
	printed := strings.ToLower(strings.Join(failure.OutputOf(err), "\n"))
	// sure is an error that reached rlbuild; a command's words are only a reason to look.
	hears := func(no syscall.Errno) (heard, sure bool) {
		sure = errors.Is(err, no) || strings.Contains(said, no.Error())
		return sure || strings.Contains(printed, no.Error()), sure
	}
	for _, no := range []syscall.Errno{unix.ENOSPC, unix.EDQUOT} {
		if heard, sure := hears(no); heard {
			return blamed(known, err, b.fullPlace(err, why, no, sure))
		}
	}
	if heard, _ := hears(unix.EROFS); heard {
		return blamed(known, err, b.closedPlace())
	}
	if heard, _ := hears(unix.ENOENT); heard {
		return blamed(known, err, b.gone())
	}
	// Overlay passes on a full file system as this.
	if strings.Contains(printed, "i/o error") || strings.Contains(printed, unix.EIO.Error()) {
		return blamed(known, err, b.fullPlace(err, why, unix.ENOSPC, false))
	}
	return err
}

// blamed is the error of the verb with what was found, if anything was.
func blamed(known *failure.Error, err error, found *cause) error {
	if found == nil {
		return err
	}
	e := found.explain(known.Op, known.Subject, err)
	if output := failure.OutputOf(err); len(output) > 0 { // a command's: its status and last lines say more
		e.Err, e.Output = fmt.Errorf("%w: %w", known.Err, found.Of.Reason(err, found.shown())), output
	}
	return e
}

// mounting matches an error of mount(2), which names places that it doesn't write to.
var mounting = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(?:(?:u?mount|bind|mounting|binding)\b[^:]*|mount \S+:/.*): (?:no space left on device|disk quota exceeded)`)
})

// pathIn returns the file that an error is about, or "".
func pathIn(err error, why string) string {
	if mounting().MatchString(why) {
		return ""
	}
	var one *fs.PathError
	var two *os.LinkError
	switch {
	case errors.As(err, &one):
		return one.Path
	case errors.As(err, &two):
		return two.New
	}
	// Of some errors the library keeps only the text.
	if m := regexp.MustCompile(`(/[^\s:"']+): (?:no space left on device|disk quota exceeded)`).FindStringSubmatch(why); m != nil {
		return m[1]
	}
	return ""
}

// fullPlace finds the place that has no room: the one that the file is in, or else one that has none now. What a failed
// verb had written may be gone again. It returns nil if no place seems to be full.
func (b *Builder) fullPlace(err error, why string, no syscall.Errno, sure bool) *cause {
	file := pathIn(err, why)
	unpacks := regexp.MustCompile(`adding layer with blob "|ApplyLayer stdout|copier: put: `).MatchString(why) // by a process that sees no more than the layer
	if unpacks {
		file = ""
	}
	grounds := b.grounds()
	if sure && file != "" {
		for _, p := range grounds {
			if reach.Within(p.dir, file) {
				return &cause{p.full, room(p.dir, no)}
			}
		}
	}
	for _, p := range grounds {
		if on, err := filesystem.Of(p.dir); err == nil && exhausted(on) {
			return &cause{p.full, room(p.dir, no)}
		}
	}
	if !sure {
		return nil
	}
	if unpacks {
		return &cause{grounds[0].full, room(grounds[0].dir, no)}
	}
	if file != "" {
		for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(dir); err == nil {
				return &cause{trouble.NoSpace, room(dir, no)}
			} else if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return nil // the kernel gives this error for other things as well that there are too many of: namespaces, mounts
}

// room says how much of it a directory's file system has.
func room(dir string, no syscall.Errno) trouble.Facts {
	facts := trouble.Facts{"path": dir, "detail": "it took no more"}
	on, err := filesystem.Of(dir)
	switch {
	case no == unix.EDQUOT:
		facts["detail"] = "your quota there is used up"
	case err != nil:
	case exhausted(on):
		facts["detail"] = left(on)
	default:
		facts["detail"] = "after cleaning up, " + left(on)
	}
	return facts
}

// exhausted tells whether next to nothing is left of a file system: one that refuses to write may have a few blocks that no file
// can get.
func exhausted(on filesystem.Info) bool {
	return on.Total > 0 && on.Free < 64<<10 || on.NoFiles()
}

// left says what is left of a file system: "1.5GiB of 20GiB are free".
func left(on filesystem.Info) string {
	if on.NoFiles() {
		return fmt.Sprintf("no inodes are left of %d, so it takes no more files", on.Files)
	}
	text := fmt.Sprintf("%s of %s are free", units.BytesSize(float64(on.Free)), units.BytesSize(float64(on.Total)))
	if on.Files > 0 && on.FreeFiles < 1000 {
		text += fmt.Sprintf(", and %d of %d inodes", on.FreeFiles, on.Files)
	}
	return text
}

// closedPlace finds the place whose file system is mounted read-only.
func (b *Builder) closedPlace() *cause {
	for _, p := range b.grounds() {
		if store.ReadOnly(p.dir) {
			return &cause{p.closed, trouble.Facts{"path": p.dir}}
		}
	}
	return nil
}

// Ready fails if one of the directories that the run began with is gone, or is another one now, or can't be written any more.
// The library would make another store where the first was, and go on with half of each; and where it can't lock a store
// it panics, and waits for itself the next time.
func (b *Builder) Ready() error {
	found := b.gone()
	for _, g := range b.grounds() {
		if found == nil && unix.Access(g.dir, unix.W_OK) == unix.EROFS {
			found = &cause{g.closed, trouble.Facts{"path": g.dir}}
		}
	}
	if found != nil {
		return found.explain("", "", nil)
	}
	return nil
}

// Panicked says which of the directories can't be written any more, after the library has panicked over its locks, or returns
// nil.
func (b *Builder) Panicked() error {
	if found := b.closedPlace(); found != nil {
		return found.explain("", "", nil)
	}
	return nil
}

func (b *Builder) gone() *cause {
	for _, g := range b.grounds() {
		if now, err := os.Stat(g.dir); g.began != nil && (errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, g.began)) {
			return &cause{g.absent, trouble.Facts{"path": g.dir}}
		}
	}
	return nil
}
