package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Input is what a command finds on its standard input.
type Input struct {
	Text string
	File *os.File // read instead of Text, from where it stands; the caller closes it
}

// endOfInput is what a terminal's user types at the end of the input: VEOF of termios(3), Ctrl-D.
const endOfInput = "\x04"

// feeder writes a command's input while the command runs. The command gets a pipe or a terminal and never the file itself:
// by a descriptor of a file its root, who is the user, could open it anew for writing. A command that reads nothing, or
// stops reading, ends without waiting for the rest.
type feeder struct {
	done chan struct{}
	to   sink
	err  error // of reading the input
}

// sink is where a command's input is written to.
type sink struct {
	*os.File
	terminal bool // it is a terminal, or the library passes it on to one
	pipe     bool // a pipe: the command sees the end of its input when this end is closed
}

// finish closes a pipe. A terminal still has to be read from.
func (s sink) finish() {
	if s.pipe {
		s.Close()
	}
}

// feed starts to write the input, and to say that it is over. At a terminal the end is typed:
// twice behind a line that isn't finished, where the first only hands over the line.
func feed(in *Input, to sink) *feeder {
	f := &feeder{done: make(chan struct{}), to: to}
	go func() {
		defer close(f.done)
		source := in.reader()
		_, _ = io.Copy(to.File, source) // what can't be written has no reader any more
		if to.terminal {
			end := endOfInput
			if source.last != '\n' {
				end += endOfInput
			}
			_, _ = io.WriteString(to, end)
		}
		to.finish()
		f.err = source.err
	}()
	return f
}

// stop ends the writing and returns why the input could not be read.
func (f *feeder) stop() error {
	if f == nil {
		return nil
	}
	_ = f.to.SetWriteDeadline(time.Now()) // it fails for a pipe that is closed already
	<-f.done
	if f.err != nil {
		return fmt.Errorf("reading its standard input: %w", f.err)
	}
	return nil
}

// reader returns the input as a stream that notes its last byte, '\n' for none, and its own failure.
func (in *Input) reader() *inputReader {
	r := &inputReader{last: '\n'}
	switch {
	case in == nil:
		r.next = strings.NewReader("")
	case in.File != nil:
		r.next = in.File
	default:
		r.next = strings.NewReader(in.Text)
	}
	return r
}

type inputReader struct {
	next io.Reader
	last byte
	err  error
}

func (r *inputReader) Read(p []byte) (int, error) {
	n, err := r.next.Read(p)
	if n > 0 {
		r.last = p[n-1]
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}
