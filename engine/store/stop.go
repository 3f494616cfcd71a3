package store

import (
	"errors"
	"io"

	"go.podman.io/storage"
)

// errStopped is the failure of what a stopped run still reads or writes.
var errStopped = errors.New("stopped: the run was interrupted")

// stoppable is a store whose layers are read and written no further once stop is closed. The library has no contexts there: it
// would go on to the end of the largest layer, with the store locked. A layer that is being written is deleted by the
// library, as for any stream that breaks.
type stoppable struct {
	storage.Store
	stop <-chan struct{}
}

// Diff is storage.Store's. The stream fails when the run is stopped.
func (s stoppable) Diff(from, to string, options *storage.DiffOptions) (io.ReadCloser, error) {
	stream, err := s.Store.Diff(from, to, options)
	if err != nil {
		return nil, err
	}
	return &stoppableStream{stream, stream, s.stop}, nil
}

// PutLayer is storage.Store's. The layer isn't made if the run is stopped before all of it was read.
func (s stoppable) PutLayer(id, parent string, names []string, mountLabel string, writeable bool, options *storage.LayerOptions,
	diff io.Reader,
) (*storage.Layer, int64, error) {
	if diff != nil {
		diff = &stoppableStream{diff, nil, s.stop}
	}
	return s.Store.PutLayer(id, parent, names, mountLabel, writeable, options, diff)
}

type stoppableStream struct {
	io.Reader
	io.Closer
	stop <-chan struct{}
}

func (s *stoppableStream) Read(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, errStopped
	default:
		return s.Reader.Read(p)
	}
}
