// Package ociarchive writes an OCI image layout into a tar file in one pass: a blob goes to its final place as its bytes
// come, and its name, which is its digest, and its size are entered into the tar header in front of it afterwards.
package ociarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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

// Writer is an archive that is being written. It has a temporary name in the archive's directory until it is complete.
type Writer struct {
	path string      // of the complete archive
	file *os.File    // nil when it has its name or is given up
	mode fs.FileMode // of the file that is replaced, 0 for none
	at   time.Time
	end  int64                  // where the next header goes
	have map[digest.Digest]bool // the blobs
	buf  []byte
}

// Create begins an archive that will replace whatever file there is at path. All its entries get the time. It fails with
// ErrUnsuitable for a path that is there and no regular file. Its temporary name, of which mark is a part, is told to making,
// unless that is nil, before there is a file. Close it.
func Create(path, mark string, at time.Time, making func(temporary string) error) (*Writer, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link goes on leading to the archive
	}
	w := &Writer{path: path, at: at, have: map[digest.Digest]bool{}, buf: make([]byte, 1<<20)}
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s %w", path, ErrUnsuitable)
	case err == nil:
		w.mode = info.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	temporary := fmt.Sprintf("%s/.%s.%s%s", filepath.Dir(path), filepath.Base(path), mark, rand.Text()[:8])
	if making != nil {
		if err := making(temporary); err != nil {
			return nil, err
		}
	}
	// Not os.CreateTemp: the mode is that of any new file, as the user's umask has it.
	if w.file, err = os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666); err != nil {
		return nil, err
	}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := w.entry(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

// Close gives the archive up, unless it is finished, and leaves nothing of it behind.
func (w *Writer) Close() error {
	if w.file == nil {
		return nil
	}
	file := w.file
	w.file = nil
	return errors.Join(file.Close(), os.Remove(file.Name()))
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

// Finish writes the index, with the one manifest, which must be a blob by now, and gives the archive its name. The image
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
	return w.rename()
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

// rename gives the complete archive its name.
func (w *Writer) rename() error {
	if w.mode != 0 {
		if err := w.file.Chmod(w.mode); err != nil {
			return err
		}
	}
	if err := os.Rename(w.file.Name(), w.path); err != nil {
		// A file that is a mount point, as builds in containers have it for their result, can be written but not replaced.
		if copyErr := w.copyOver(); copyErr != nil {
			return errors.Join(err, copyErr)
		}
		return w.Close()
	}
	file := w.file
	w.file = nil
	return file.Close()
}

func (w *Writer) copyOver() error {
	over, err := os.OpenFile(w.path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{over}, io.NewSectionReader(w.file, 0, w.end+2*block), w.buf)
	return errors.Join(err, over.Close())
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
