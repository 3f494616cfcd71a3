package compress

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// frames writes a stream as consecutive zstd frames, which RFC 8878 (section 3) has decoders take for one stream. Each is
// compressed by itself, so that all processors have work; the encoder's own stream mode keeps less than two busy.
type frames struct {
	encoder *zstd.Encoder
	current *frame
	work    chan *frame // to the compressing goroutines
	order   chan *frame // the same ones, to the writing goroutine
	free    chan *frame
	failed  chan struct{} // closed when w failed
	done    chan struct{} // closed when all is written
	err     error         // of w; read it after failed or done
}

type frame struct {
	in, out []byte
	ready   chan struct{} // has a token when out is complete
}

func newFrames(w io.Writer, level zstd.EncoderLevel, workers int) (*frames, error) {
	// No checksums in the frames: whoever reads a layer compares its digest.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(workers), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(zstdFrame), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
	if err != nil {
		return nil, err
	}
	// One frame more than are compressed is being filled or written meanwhile.
	count := workers + 1
	f := &frames{
		encoder: encoder,
		work:    make(chan *frame), order: make(chan *frame, count), free: make(chan *frame, count),
		failed: make(chan struct{}), done: make(chan struct{}),
	}
	for range count {
		f.free <- &frame{ready: make(chan struct{}, 1)}
	}
	for range workers {
		go f.compress()
	}
	go f.write(w)
	return f, nil
}

func (f *frames) compress() {
	for part := range f.work {
		part.out = f.encoder.EncodeAll(part.in, part.out[:0])
		part.ready <- struct{}{}
	}
}

// write writes the frames in their order. After an error it goes on taking them, so that nobody waits for ever.
func (f *frames) write(w io.Writer) {
	defer close(f.done)
	for part := range f.order {
		<-part.ready
		if f.err == nil {
			if _, f.err = w.Write(part.out); f.err != nil {
				close(f.failed)
			}
		}
		f.free <- part
	}
}

func (f *frames) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if f.current == nil {
			select {
			case <-f.failed:
				return written, f.err
			case f.current = <-f.free:
			}
			if f.current.in == nil { // most layers are small, and need one frame
				f.current.in, f.current.out = make([]byte, 0, zstdFrame), make([]byte, 0, zstdFrame+zstdFrame/64)
			}
			f.current.in = f.current.in[:0]
		}
		n := min(len(p), zstdFrame-len(f.current.in))
		f.current.in = append(f.current.in, p[:n]...)
		p, written = p[n:], written+n
		if len(f.current.in) == zstdFrame {
			f.send()
		}
	}
	return written, nil
}

func (f *frames) send() {
	f.order <- f.current
	f.work <- f.current
	f.current = nil
}

// Close writes what is left and waits until all is written. An empty stream is an empty frame. The second call does
// nothing.
func (f *frames) Close() error {
	if f.order == nil {
		return f.err
	}
	if f.current == nil {
		f.current = <-f.free // an empty frame at the end says nothing, and an empty stream needs one
		f.current.in = f.current.in[:0]
	}
	f.send()
	close(f.order)
	close(f.work)
	<-f.done
	f.order = nil
	return f.err
}
