package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// naming returns a file for what the library prints, from where it goes on to out with the user's name of the place. Call said when all
// is printed.
func (p *placing) naming(out *os.File) (to *os.File, said func(), err error) {
	if p == nil || p.put == nil {
		return out, func() {}, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("making a pipe for the library's output: %w", err)
	}
	passing := &renaming{next: out, old: []byte(p.written), name: []byte(p.asked)}
	var reader sync.WaitGroup
	reader.Go(func() {
		if _, err := io.Copy(passing, r); errors.Is(err, os.ErrDeadlineExceeded) {
			_, _ = passing.Write(arrived(r))
		}
		passing.flush()
	})
	return w, func() {
		w.Close()
		_ = r.SetReadDeadline(time.Now().Add(outputGrace)) // something may hold the other end
		reader.Wait()
		r.Close()
	}, nil
}

// renaming passes on what is written with another name in place of the old one.
type renaming struct {
	next      io.Writer
	old, name []byte
	held      []byte // what may be the beginning of the old name
}

func (r *renaming) Write(p []byte) (int, error) {
	text := bytes.ReplaceAll(append(r.held, p...), r.old, r.name)
	cut := len(text)
	for n := min(len(text), len(r.old)-1); n > 0; n-- {
		if strings.HasSuffix(string(text), string(r.old[:n])) {
			cut = len(text) - n
			break
		}
	}
	r.held = bytes.Clone(text[cut:])
	if _, err := r.next.Write(text[:cut]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush passes on what turned out to be something else.
func (r *renaming) flush() { _, _ = r.next.Write(r.held) }
