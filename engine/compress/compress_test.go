package compress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// content is compressible in part, as files are.
func content(size int) []byte {
	data := make([]byte, size)
	source := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < size; i += 64 {
		if source.IntN(2) == 0 {
			data[i] = byte(source.Uint32())
			continue
		}
		for j := i; j < min(i+64, size); j++ {
			data[j] = byte(source.Uint32())
		}
	}
	return data
}

func unpack(t *testing.T, format string, packed []byte) []byte {
	t.Helper()
	var r io.Reader
	var err error
	if format == Gzip {
		r, err = gzip.NewReader(bytes.NewReader(packed))
	} else {
		r, err = zstd.NewReader(bytes.NewReader(packed))
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func pack(t *testing.T, format string, data []byte, piece int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, format, 0)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n, err := w.Write(data[:min(piece, len(data))])
		if err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, format := range []string{Gzip, Zstd} {
		for _, size := range []int{0, 1, zstdFrame - 1, zstdFrame, zstdFrame + 1, 4*zstdFrame + 12345} {
			data := content(size)
			packed := pack(t, format, data, 100_000)
			if len(packed) == 0 {
				t.Errorf("%s: nothing came of %d bytes", format, size)
			}
			if !bytes.Equal(unpack(t, format, packed), data) {
				t.Errorf("%s: %d bytes came back different", format, size)
			}
		}
	}
}

// TestSameEverywhere holds what makes digests worth comparing: the number of processors and the size of the writes don't
// show in the result.
func TestSameEverywhere(t *testing.T) {
	data := content(3*zstdFrame + 5)
	for _, format := range []string{Gzip, Zstd} {
		want := pack(t, format, data, len(data))
		for _, processors := range []int{1, 5} {
			previous := runtime.GOMAXPROCS(processors)
			got := pack(t, format, data, 32<<10)
			runtime.GOMAXPROCS(previous)
			if !bytes.Equal(got, want) {
				t.Errorf("%s: %d processors make another result", format, processors)
			}
		}
	}
}

var errFull = errors.New("full")

// full takes so many bytes and then fails.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestFailingWriter sees that the error of the writer below comes out, and that nothing waits for ever.
func TestFailingWriter(t *testing.T) {
	data := content(6 * zstdFrame)
	for _, format := range []string{Gzip, Zstd} {
		for _, room := range []int{0, zstdFrame, 3 * zstdFrame} {
			w, err := NewWriter(&full{room}, format, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(data)
			if err = errors.Join(err, w.Close()); !errors.Is(err, errFull) {
				t.Errorf("%s with room for %d bytes: got %v, want %v", format, room, err, errFull)
			}
		}
	}
}

func TestLevels(t *testing.T) {
	data := content(1 << 20)
	for format, highest := range map[string]int{Gzip: 9, Zstd: 22} {
		size := func(level int) int {
			var out bytes.Buffer
			w, err := NewWriter(&out, format, level)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(data)
			if err = errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			return out.Len()
		}
		if size(highest) >= size(1) {
			t.Errorf("%s: level %d makes nothing smaller than level 1", format, highest)
		}
	}
	if _, err := NewWriter(io.Discard, "brotli", 0); err == nil {
		t.Error("an unknown format is taken")
	}
}
