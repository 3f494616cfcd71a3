// Package layer turns a directory of changes, the upper directory of an overlay mount, into an image layer: the tar stream
// that containers-storage would make of it, byte for byte, with its digest, size, owners and tar-split metadata. On the way
// it can copy the files to where the layer will live, so that each is read once and written once.
//
// One goroutine walks the directory and decides the order (walk.go). Workers open, read, check and copy the files it finds
// (read.go, copy.go), as far ahead as the buffers allow. One goroutine puts the pieces in order, hashes and writes them
// (stream.go): sha256 can't be split, so it is given a processor to itself. Memory is bounded by the buffers, whatever the
// size of the files.
package layer

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Changes are the files of a layer as overlay keeps them: deletions are character devices 0:0, and a directory that hides
// the one below carries overlay's opaque attribute.
type Changes struct {
	Dir   string   // the upper directory
	Lower []string // the directories of the layers below, uppermost first: they decide which opaque directories hide something

	// Omit tells which entries stay out of the layer, by their tar headers; nil keeps all. It is called from several
	// goroutines and must not change the header.
	Omit func(*tar.Header) bool

	// Stamp returns the modification time that an entry gets in the layer, in whole seconds, for the one it has; nil leaves
	// them as they are. It is called from several goroutines.
	Stamp func(time.Time) time.Time
}

// Options are what WriteTar does besides writing. The zero value does nothing more.
type Options struct {
	// CopyTo is an existing, empty directory that receives the files as unpacking the stream would make them.
	CopyTo string
	// Link makes hard links instead of copies, on one file system: for changes that nobody writes to any more. Their files
	// keep the times they have, so it is not for changes with a Stamp.
	Link bool
	// TarSplit receives the metadata from which containers-storage makes the same stream of the files again, as tar-split's
	// lines of JSON.
	TarSplit io.Writer
}

// Summary describes the written stream.
type Summary struct {
	DiffID     digest.Digest // sha256 of the stream
	Size       int64         // of the stream, bytes
	UIDs, GIDs []uint32      // owners of the files, ascending
}

// Memory for contents: each buffer takes most files whole, and all together let the workers run ahead.
const (
	bufferSize  = 64 << 10
	bufferCount = 256
	ring        = 8 // buffers that a file larger than one goes through
	queue       = 512
)

// WriteTar writes the layer to w in one pass over the files; a nil w only hashes it. The stream is that of an uncompressed
// layer, complete with its trailer. A file that changes meanwhile, or that can't be read, is an error: the stream would not
// be what the files are.
func (c Changes) WriteTar(ctx context.Context, w io.Writer, o Options) (Summary, error) {
	root, err := os.Open(c.Dir)
	if err != nil {
		return Summary{}, fmt.Errorf("opening the changes: %w", err)
	}
	defer root.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &pipeline{Changes: c, ctx: ctx, cancel: cancel, root: int(root.Fd()), checked: o.TarSplit != nil,
		free: make(chan []byte, bufferCount), jobs: make(chan *entry, queue), ordered: make(chan *entry, queue)}
	if o.CopyTo != "" {
		to, err := os.Open(o.CopyTo)
		if err != nil {
			return Summary{}, fmt.Errorf("opening the layer's directory: %w", err)
		}
		defer to.Close()
		p.copies = &copies{dir: o.CopyTo, root: int(to.Fd()), linked: -1}
		if o.Link {
			p.copies.linked = p.root
		}
	}
	for range bufferCount {
		p.free <- nil // made when it is first used: most layers are small
	}
	var running sync.WaitGroup
	running.Go(p.walk)
	for range workers() {
		running.Go(p.work)
	}
	summary, err := p.assemble(w, o.TarSplit)
	if err != nil {
		cancel(err)
	}
	running.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return Summary{}, cause
	}
	return summary, nil
}

// workers is how many files are worked on at a time. They wait for the file system as well as they compute.
func workers() int { return max(2, min(runtime.GOMAXPROCS(0)+1, 8)) }

// pipeline is one run of WriteTar.
type pipeline struct {
	Changes
	ctx     context.Context
	cancel  context.CancelCauseFunc
	root    int     // descriptor of Dir
	copies  *copies // nil if nothing is copied
	checked bool    // tar-split wants a checksum of each file

	// The walk takes buffers for a file before it sends the file on, and assemble gives them back, both in the order of the
	// stream. So the file that assemble waits for always has its own, and can't wait for a buffer that a later file holds.
	free    chan []byte
	jobs    chan *entry
	ordered chan *entry
}

// fail ends the run with the first error. It returns false, for senders that give up.
func (p *pipeline) fail(err error) bool {
	p.cancel(err)
	return false
}
