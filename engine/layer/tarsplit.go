package layer

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/vbatts/tar-split/tar/storage"
)

// tarSplit writes what tar-split's packer would (asm.NewInputTarStream), without parsing the stream again and without the
// packer's list of all names. A nil tarSplit drops everything.
type tarSplit struct {
	w        *bufio.Writer // remembers the first error
	position int
	pending  []byte // of the stream: padding and headers since the last file
	line     []byte
}

func newTarSplit(w io.Writer) *tarSplit { return &tarSplit{w: bufio.NewWriterSize(w, 64<<10)} }

// segment records bytes that are in no file.
func (t *tarSplit) segment(raw []byte) {
	if t != nil {
		t.pending = append(t.pending, raw...)
	}
}

// file records that the contents of a file follow in the stream.
func (t *tarSplit) file(name string, size int64, sum uint64) {
	if t == nil {
		return
	}
	t.flush()
	t.begin(storage.FileType)
	if utf8.ValidString(name) {
		t.line = append(t.line, `,"name":`...)
		text, _ := json.Marshal(name) // a string always can be
		t.line = append(t.line, text...)
	} else {
		t.line = append(t.line, `,"name_raw":"`...)
		t.line = append(base64.StdEncoding.AppendEncode(t.line, []byte(name)), '"')
	}
	if size == 0 {
		t.end(nil)
		return
	}
	t.line = strconv.AppendInt(append(t.line, `,"size":`...), size, 10)
	t.end(binary.BigEndian.AppendUint64(nil, sum))
}

// flush writes the segment before a file, or the last one.
func (t *tarSplit) flush() {
	if len(t.pending) == 0 {
		return
	}
	t.begin(storage.SegmentType)
	t.end(t.pending)
	t.pending = t.pending[:0]
}

func (t *tarSplit) begin(kind storage.Type) {
	t.line = strconv.AppendInt(append(t.line[:0], `{"type":`...), int64(kind), 10)
}

func (t *tarSplit) end(payload []byte) {
	t.line = append(t.line, `,"payload":`...)
	if payload == nil {
		t.line = append(t.line, "null"...)
	} else {
		t.line = append(base64.StdEncoding.AppendEncode(append(t.line, '"'), payload), '"')
	}
	t.line = strconv.AppendInt(append(t.line, `,"position":`...), int64(t.position), 10)
	t.line = append(t.line, "}\n"...)
	t.position++
	_, _ = t.w.Write(t.line) // close reports it
}

// close writes what is left.
func (t *tarSplit) close() error {
	if t == nil {
		return nil
	}
	t.flush()
	return t.w.Flush()
}
