package store

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
)

// WriteLayer writes the uncompressed tar stream of a layer, as it was when the layer was stored.
//
// The library's own Diff keeps all other programs out of the store until the stream is read to its end, which for an upload
// can take minutes, and computes a checksum of each file on top. So the stream is put together here, from what storage keeps
// for that beside the layer. The caller has to compare its digest with the layer's: that finds what the checksums would,
// and also a layer that somebody deleted meanwhile.
func (s *Store) WriteLayer(w io.Writer, id string) error {
	driver, err := s.GraphDriver()
	if err != nil {
		return err
	}
	records, err := os.Open(filepath.Join(s.GraphRoot(), s.GraphDriverName()+"-layers", id+".tar-split.gz"))
	files, direct := driver.(graphdriver.DiffGetterDriver)
	if !direct || errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			_ = records.Close() // only read
		}
		return s.writeDiff(w, id)
	} else if err != nil {
		return err
	}
	defer records.Close()
	getter, err := files.DiffGetter(id)
	if err != nil {
		return err
	}
	plain, err := gzip.NewReader(records)
	if err == nil {
		err = join(w, tarsplit.NewJSONUnpacker(plain), getter)
	}
	return errors.Join(err, getter.Close())
}

// join writes the pieces of a stream: those that the records hold, and the files.
func join(w io.Writer, records tarsplit.Unpacker, files graphdriver.FileGetCloser) error {
	buffer := make([]byte, 256<<10)
	for {
		record, err := records.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading the layer's records: %w", err)
		}
		if record.Type == tarsplit.SegmentType {
			if _, err := w.Write(record.Payload); err != nil {
				return err
			}
			continue
		}
		if record.Size == 0 {
			continue
		}
		file, err := files.Get(record.GetName())
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{file}, buffer)
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
}

// writeDiff writes the stream as the library makes it.
func (s *Store) writeDiff(w io.Writer, id string) error {
	plain := archive.Uncompressed
	r, err := s.Diff("", id, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, r.Close())
}
