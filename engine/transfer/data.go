package transfer

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// data copies the content of files, one after another.
type data struct {
	buffer []byte // for what the kernel doesn't copy by itself
	apart  bool   // the trees are on file systems between which it doesn't
}

// atOnce is how much the kernel is asked to copy at a time: a file of any size can be given up soon.
const atOnce = 64 << 20

// copy copies a file's content, with its holes.
func (d *data) copy(ctx context.Context, to, from *os.File, st unix.Stat_t) error {
	if st.Blocks*512 >= st.Size {
		return d.stretch(ctx, to, from, -1)
	}
	for end := int64(0); ; {
		begin, err := from.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only a hole is left
			return to.Truncate(max(end, st.Size))
		}
		if errors.Is(err, unix.EINVAL) { // a file system that knows no holes, as /proc
			return d.stretch(ctx, to, from, -1)
		}
		if err != nil {
			return err
		}
		if end, err = from.Seek(begin, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err = from.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err = to.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if err = d.stretch(ctx, to, from, end-begin); err != nil {
			return err
		}
	}
}

// stretch copies n bytes from where both files are, or with a negative n all that is left.
func (d *data) stretch(ctx context.Context, to, from *os.File, n int64) error {
	if n < 0 {
		n = 1<<63 - 1
	}
	for copied := int64(0); !d.apart && copied < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		step, err := unix.CopyFileRange(int(from.Fd()), nil, int(to.Fd()), nil, int(min(n-copied, atOnce)), 0)
		switch {
		case err == unix.EINTR:
		case copied == 0 && step <= 0:
			// Not between these two, or not for this file: those of /proc seem empty to it. Nothing was copied yet.
			d.apart = err == unix.EXDEV || err == unix.ENOSYS || err == unix.EOPNOTSUPP
			return d.throughBuffer(ctx, to, from, n)
		case err != nil:
			return err
		case step == 0:
			return nil
		default:
			copied += int64(step)
			if copied == n {
				return nil
			}
		}
	}
	return d.throughBuffer(ctx, to, from, n)
}

func (d *data) throughBuffer(ctx context.Context, to, from *os.File, n int64) error {
	if d.buffer == nil {
		d.buffer = make([]byte, 256<<10)
	}
	// The wrapping hides methods that would try the kernel's copying again, and allocate a buffer for each file.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, io.LimitReader(stoppable{ctx, from}, n), d.buffer)
	return err
}

// stoppable reads until ctx ends.
type stoppable struct {
	ctx context.Context
	io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Reader.Read(p)
}
