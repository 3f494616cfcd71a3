package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

const blockSize = 512 // of tar

var zeros [2 * blockSize]byte

// stream is the layer as it is written.
type stream struct {
	w          io.Writer // nil if it is only hashed
	hash       hash.Hash
	size       int64
	split      *tarSplit // nil if nobody wants it
	uids, gids map[uint32]struct{}
}

// write adds bytes to the stream.
func (s *stream) write(raw []byte) error {
	s.hash.Write(raw)
	s.size += int64(len(raw))
	if s.w == nil {
		return nil
	}
	_, err := s.w.Write(raw)
	return err
}

// frame adds bytes that no file holds: headers and padding.
func (s *stream) frame(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	s.split.segment(raw)
	return s.write(raw)
}

// assemble puts the parts in order until the walk has ended.
func (p *pipeline) assemble(w io.Writer, split io.Writer) (Summary, error) {
	s := &stream{w: w, hash: sha256.New(), uids: map[uint32]struct{}{}, gids: map[uint32]struct{}{}}
	if split != nil {
		s.split = newTarSplit(split)
	}
	var summary Summary
	var open []placed // the directories that the walk is in
	for e := range p.ordered {
		if e.leave {
			dir := open[len(open)-1]
			open = open[:len(open)-1]
			if err := p.copies.leave(e.name, dir); err != nil {
				return Summary{}, fmt.Errorf("copying %s: %w", e.name, err)
			}
			continue
		}
		file, err := p.add(s, e)
		if err != nil {
			return Summary{}, err
		}
		if e.info.IsDir() {
			open = append(open, file)
		}
	}
	if p.ctx.Err() != nil {
		return Summary{}, context.Cause(p.ctx)
	}
	if err := s.frame(zeros[:]); err != nil {
		return Summary{}, err
	}
	if err := s.split.close(); err != nil {
		return Summary{}, fmt.Errorf("writing tar-split: %w", err)
	}
	summary.DiffID, summary.Size = digest.NewDigest(digest.SHA256, s.hash), s.size
	summary.UIDs, summary.GIDs = slices.Sorted(maps.Keys(s.uids)), slices.Sorted(maps.Keys(s.gids))
	return summary, nil
}

// placed is what became of an entry.
type placed struct {
	hdr    *tar.Header
	omit   bool
	opaque bool // a directory that hides the one below
}

// add writes the parts of an entry as the workers make them.
func (p *pipeline) add(s *stream, e *entry) (placed, error) {
	var file placed
	for {
		var next part
		var more bool
		select {
		case next, more = <-e.parts:
		case <-p.ctx.Done():
			return file, context.Cause(p.ctx)
		}
		if !more {
			break
		}
		if next.hdr == nil {
			if err := s.contents(next, file.hdr); err != nil {
				return file, err
			}
			e.empty <- next.raw[:bufferSize]
			continue
		}
		if file.hdr == nil {
			file.hdr, file.omit = next.hdr, next.omit
		} else {
			file.opaque = true
		}
		if err := s.header(next); err != nil {
			return file, err
		}
	}
	for len(e.empty) > 0 {
		p.free <- <-e.empty
	}
	if file.hdr.Typeflag == tar.TypeLink && !file.omit {
		if err := p.copies.link(e); err != nil {
			return file, fmt.Errorf("copying %s: %w", e.name, err)
		}
	}
	return file, nil
}

func (s *stream) header(p part) error {
	if p.omit {
		return nil
	}
	if !reserved(p.hdr.Name) {
		s.uids[uint32(p.hdr.Uid)], s.gids[uint32(p.hdr.Gid)] = struct{}{}, struct{}{}
	}
	if err := s.frame(p.raw); err != nil {
		return err
	}
	if p.hdr.Typeflag != tar.TypeReg || p.hdr.Size == 0 {
		s.split.file(p.hdr.Name, 0, 0)
	}
	return nil
}

func (s *stream) contents(p part, hdr *tar.Header) error {
	if err := s.write(p.raw); err != nil || !p.last {
		return err
	}
	s.split.file(hdr.Name, hdr.Size, p.sum)
	return s.frame(zeros[:-hdr.Size&(blockSize-1)])
}
