package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"
)

// part is a piece of the stream, in order: a header, or contents of the file whose header came before.
type part struct {
	hdr *tar.Header // what the bytes are the header of; nil for contents
	raw []byte

	last bool   // of the contents
	sum  uint64 // with the last: tar-split's checksum of all contents
	omit bool   // nothing of the entry is in the stream
}

func (p *pipeline) work() {
	for e := range p.jobs {
		if p.ctx.Err() != nil {
			return
		}
		if err := p.process(e); err != nil {
			p.fail(err)
			return
		}
		close(e.parts)
	}
}

// process makes the entry's parts, and its copy.
func (p *pipeline) process(e *entry) error {
	hdr, opaque, err := p.headers(e)
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.name, err)
	}
	omit := p.Omit != nil && p.Omit(hdr)
	omitOpaque := opaque == nil || p.Omit != nil && p.Omit(opaque)
	p.stamp(hdr, opaque)
	if err := p.sendHeader(e, hdr, omit); err != nil {
		return err
	}
	if !omitOpaque {
		if err := p.sendHeader(e, opaque, false); err != nil {
			return err
		}
		if err := p.copies.hide(e.name); err != nil {
			return fmt.Errorf("copying %s: %w", e.name, err)
		}
	}
	if omit {
		return nil
	}
	var to *copied
	if p.copies != nil {
		if to, err = p.copies.make(e, hdr); err != nil {
			return fmt.Errorf("copying %s: %w", e.name, err)
		}
	}
	defer to.close()
	if hdr.Typeflag == tar.TypeReg && hdr.Size > 0 {
		if err := p.contents(e, to); err != nil {
			return err
		}
	}
	if err := to.finish(hdr); err != nil {
		return fmt.Errorf("copying %s: %w", e.name, err)
	}
	return nil
}

func (p *pipeline) sendHeader(e *entry, hdr *tar.Header, omit bool) error {
	var raw bytes.Buffer
	if !omit {
		if err := writeHeader(&raw, hdr); err != nil {
			return err
		}
	}
	e.parts <- part{hdr: hdr, raw: raw.Bytes(), omit: omit}
	return nil
}

// contents reads the file into the entry's buffers, sends them, and copies them.
func (p *pipeline) contents(e *entry, to *copied) error {
	from, err := p.open(e.name)
	if err != nil {
		return fmt.Errorf("opening %s: %w", e.name, err)
	}
	defer unix.Close(from)
	var sum uint64
	for left := e.info.Size(); left > 0; {
		var buffer []byte
		select {
		case buffer = <-e.empty:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
		if buffer == nil {
			buffer = make([]byte, bufferSize+1)
		}
		want := int64(bufferSize)
		if left <= bufferSize {
			want = left + 1 // if the one more comes, the file has grown
		}
		n, err := readFull(from, buffer[:want])
		if err != nil {
			return fmt.Errorf("reading %s: %w", e.name, err)
		}
		if int64(n) > left || int64(n) < min(left, bufferSize) {
			return e.changed()
		}
		left -= int64(n)
		if p.checked {
			sum = checksum(sum, buffer[:n])
		}
		if err := to.write(buffer[:n]); err != nil {
			return fmt.Errorf("copying %s: %w", e.name, err)
		}
		e.parts <- part{raw: buffer[:n], last: left == 0, sum: sum}
	}
	return nil
}

// open opens a file for reading without leaving a trace in its access time, where that is allowed.
func (p *pipeline) open(name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	fd, err := openat(p.root, name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = openat(p.root, name, flags, 0)
	}
	return fd, err
}

// reserved tells whether a name means a deletion when the layer is unpacked.
func reserved(name string) bool { return strings.HasPrefix(path.Base(name), archive.WhiteoutPrefix) }
