package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"go.podman.io/storage/pkg/archive"
)

// entry is a file on its way into the stream.
type entry struct {
	name  string // relative to the changes
	info  fs.FileInfo
	link  string // the name in the stream under which the same inode came before, or ""
	leave bool   // not a file: all files of the directory came before

	parts chan part   // what the stream holds of it; closed when that is all
	empty chan []byte // buffers to read into
}

// ErrReserved is the error of a copy of changes that hold a directory whose name means a deletion, or a file of such a name
// that deletes nothing, its directory, or one beside it: what unpacking makes of them depends on the order.
var ErrReserved = errors.New("this name means a deletion in layers")

// walk sends the files in the order of filepath.WalkDir, which is the order storage writes them in.
func (p *pipeline) walk() {
	defer close(p.jobs)
	defer close(p.ordered)
	p.walkDir("", map[uint64]string{})
}

func (p *pipeline) walkDir(dir string, seen map[uint64]string) bool {
	names, err := p.list(dir)
	if err != nil {
		return p.fail(err)
	}
	for _, base := range names {
		name := path.Join(dir, base)
		info, err := os.Lstat(path.Join(p.Dir, name))
		if err != nil {
			return p.fail(err)
		}
		if hidden, ok := strings.CutPrefix(base, archive.WhiteoutPrefix); ok && p.copies != nil {
			if _, found := slices.BinarySearch(names, hidden); found || info.IsDir() || slices.Contains([]string{"", ".", ".."}, hidden) {
				return p.fail(fmt.Errorf("%w: %s", ErrReserved, name))
			}
		}
		if info.Mode()&os.ModeSocket != 0 {
			continue // tar has no sockets
		}
		e := &entry{name: name, info: info}
		stat := info.Sys().(*syscall.Stat_t)
		if !info.IsDir() && stat.Nlink > 1 {
			if e.link = seen[stat.Ino]; e.link == "" {
				seen[stat.Ino] = e.streamName()
			}
		}
		if info.IsDir() && p.copies != nil {
			if err := p.copies.makeDir(name); err != nil {
				return p.fail(err)
			}
		}
		if !p.send(e) {
			return false
		}
		if info.IsDir() && (!p.walkDir(name, seen) || !p.send(&entry{name: name, info: info, leave: true})) {
			return false
		}
	}
	return true
}

// list returns the names in a directory, sorted.
func (p *pipeline) list(dir string) ([]string, error) {
	f, err := os.Open(path.Join(p.Dir, dir))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// send passes an entry to the workers and to assemble, with the buffers it needs.
func (p *pipeline) send(e *entry) bool {
	if !e.leave {
		buffers := 0
		if e.info.Mode().IsRegular() && e.link == "" {
			buffers = int(min(ring, (e.info.Size()+bufferSize-1)/bufferSize))
		}
		e.parts, e.empty = make(chan part, buffers+2), make(chan []byte, buffers) // a worker never waits to send
		for range buffers {
			select {
			case b := <-p.free:
				e.empty <- b
			case <-p.ctx.Done():
				return false
			}
		}
		select {
		case p.jobs <- e:
		case <-p.ctx.Done():
			return false
		}
	}
	select {
	case p.ordered <- e:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// streamName is the entry's name in the stream.
func (e *entry) streamName() string {
	if e.whiteout() {
		return path.Join(path.Dir(e.name), archive.WhiteoutPrefix+path.Base(e.name))
	}
	return e.name
}

// whiteout tells whether the entry is a deletion. Overlay links all of a mount's whiteouts to one inode.
func (e *entry) whiteout() bool {
	return e.info.Mode()&os.ModeCharDevice != 0 && e.info.Sys().(*syscall.Stat_t).Rdev == 0
}

// changed is the error of a file that isn't what it was when the walk came by.
func (e *entry) changed() error {
	return fmt.Errorf("%s changed while the layer was made of it", e.name)
}
