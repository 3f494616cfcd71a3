// Package compress compresses a stream on all processors, in parts of a fixed size: what comes out depends on what goes in
// and on the level, never on the machine.
package compress

import (
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// The formats.
const (
	Gzip = "gzip"
	Zstd = "zstd"
)

const (
	// gzipBlock is how much is compressed at a time, the library's own choice (and podman's and buildah's, so that the same
	// layer has the same digest there). A block has the one before it as its dictionary.
	gzipBlock = 1 << 20
	// zstdFrame is how much goes into a frame. Larger ones compress a little better and take more memory.
	zstdFrame = 4 << 20
	// maxGzip and maxZstd bound how many processors are used, and with that the memory: some 3 MB for each gzip block,
	// 16 MB for each frame. Four processors make zstd faster than files are read and digests computed.
	maxGzip = 16
	maxZstd = 4
)

// NewWriter returns a writer that compresses to w. Level 0 is the format's default. Close it, also after an error; it does
// not close w.
func NewWriter(w io.Writer, format string, level int) (io.WriteCloser, error) {
	switch format {
	case Gzip:
		if level == 0 {
			level = pgzip.DefaultCompression
		}
		z, err := pgzip.NewWriterLevel(w, level)
		if err != nil {
			return nil, err
		}
		// Twice as many blocks as processors, so that none waits while the oldest block is written.
		return z, z.SetConcurrency(gzipBlock, 2*min(runtime.GOMAXPROCS(0), maxGzip))
	case Zstd:
		speed := zstd.SpeedDefault
		if level != 0 {
			speed = zstd.EncoderLevelFromZstd(level)
		}
		return newFrames(w, speed, min(runtime.GOMAXPROCS(0), maxZstd))
	}
	return nil, fmt.Errorf("no compression is called %q", format)
}
