// Package ociarchive writes an OCI image layout into a tar file in one pass: a blob goes to its final place as its bytes
// come, and its name, which is its digest, and its size are entered into the tar header in front of it afterwards.
package ociarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// block is the unit of a tar file, bytes.
const block = 512

// ErrUnsuitable says that a place can't be written to in this way, though perhaps in another: it is there and is no
// regular file.
var ErrUnsuitable = errors.New("is not a regular file")

// Writer is an archive that is being written.
type Writer struct {
	file *os.File
	at   time.Time
	end  int64                  // where the next header goes
	have map[digest.Digest]bool // the blobs
	buf  []byte
}

// Create begins an archive, in place of what is in the file at path, if there is one. All its entries get the time. It fails with
// ErrUnsuitable for a path that is there and no regular file. Close it.
func Create(path string, at time.Time) (*Writer, error) {
	switch info, err := os.Stat(path); {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s %w", path, ErrUnsuitable)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	w := &Writer{at: at, have: map[digest.Digest]bool{}, buf: make([]byte, 1<<20)}
	var err error
	if w.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666); err != nil {
		return nil, err
	}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := w.entry(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

// Close closes the file. Unless the archive is finished, there is no use for what is in it.
func (w *Writer) Close() error {
	if err := w.file.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

// Blob writes everything that r gives as a blob and returns its digest and size. After an error the archive is of no use.
func (w *Writer) Blob(ctx context.Context, r io.Reader) (digest.Digest, int64, error) {
	start := w.end
	if _, err := w.file.Seek(start+block, io.SeekStart); err != nil {
		return "", 0, err
	}
	sum := digest.Canonical.Digester()
	size, err := io.CopyBuffer(io.MultiWriter(onlyWriter{w.file}, sum.Hash()), stoppable{ctx, r}, w.buf)
	if err != nil {
		return "", 0, err
	}
	name := sum.Digest()
	if w.have[name] { // once is enough, and some readers want no name twice
		return name, size, nil
	}
	w.have[name] = true
	header := tar.Header{Typeflag: tar.TypeReg, Name: "blobs/" + string(name.Algorithm()) + "/" + name.Encoded(), Mode: 0o644, Size: size}
	return name, size, w.place(header)
}

// Finish writes the index, with the one manifest, which must be a blob by now, and closes the archive. The image
// is what the index calls it, "" for nothing.
func (w *Writer) Finish(manifest v1.Descriptor, image string) error {
	if image != "" {
		manifest.Annotations = map[string]string{v1.AnnotationRefName: image}
	}
	index := v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{manifest},
	}
	for _, last := range []struct {
		name  string
		value any
	}{{v1.ImageIndexFile, index}, {v1.ImageLayoutFile, v1.ImageLayout{Version: v1.ImageLayoutVersion}}} {
		data, err := json.Marshal(last.value)
		if err != nil {
			return err
		}
		if err := w.entry(tar.Header{Typeflag: tar.TypeReg, Name: last.name, Mode: 0o644}, data); err != nil {
			return err
		}
	}
	// The archive ends with two empty blocks; and a repeated blob may have left bytes there.
	if err := errors.Join(w.file.Truncate(w.end), w.file.Truncate(w.end+2*block)); err != nil {
		return err
	}
	return w.Close()
}

// entry writes a whole entry.
func (w *Writer) entry(header tar.Header, data []byte) error {
	header.Size = int64(len(data))
	if _, err := w.file.WriteAt(data, w.end+block); err != nil {
		return err
	}
	return w.place(header)
}

// place writes the header in front of content that is there already, and pads it to a whole block.
func (w *Writer) place(header tar.Header) error {
	// GNU's format holds sizes beyond 8 GiB in the header itself, which so is one block whatever the blob turns out to be.
	header.Format, header.ModTime = tar.FormatGNU, w.at
	var text bytes.Buffer
	if err := tar.NewWriter(&text).WriteHeader(&header); err != nil {
		return err
	}
	if text.Len() != block {
		return fmt.Errorf("the tar header of %s has %d bytes", header.Name, text.Len())
	}
	if _, err := w.file.WriteAt(text.Bytes(), w.end); err != nil {
		return err
	}
	padding := make([]byte, -header.Size&(block-1))
	if _, err := w.file.WriteAt(padding, w.end+block+header.Size); err != nil {
		return err
	}
	w.end += block + header.Size + int64(len(padding))
	return nil
}

// onlyWriter hides ReadFrom, which would have its own idea of buffers.
type onlyWriter struct{ io.Writer }

// stoppable is a reader that fails when the context ends.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}
