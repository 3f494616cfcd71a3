// Package output shows what a run does, each line under the step it belongs to, and captures what a step prints without
// holding it in memory.
package output

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// maxLine bounds the text held back while waiting for a line's end, in bytes; a longer line is shown in pieces.
const maxLine = 8 << 10

// Display writes the lines of a run to one writer, whole lines at a time. Its zero value shows nothing.
type Display struct {
	mu    sync.Mutex
	w     io.Writer
	steps int
}

// New returns a display on w; a nil w shows nothing.
func New(w io.Writer) *Display { return &Display{w: w} }

// Step announces the next step, "#3 run make install", and returns it. Close it when the step has ended.
func (d *Display) Step(title string) *Step {
	d.mu.Lock()
	d.steps++
	s := &Step{display: d, prefix: fmt.Sprintf("#%d ", d.steps)}
	d.mu.Unlock()
	d.line(s.prefix + Printable(title))
	return s
}

// Line shows one line that belongs to no step.
func (d *Display) Line(text string) { d.line(Printable(text)) }

func (d *Display) line(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.w == nil {
		return
	}
	// A terminal or pipe that went away must not end the build: what is shown is a courtesy.
	_, _ = io.WriteString(d.w, text+"\n")
}

// Step is one step on a display.
type Step struct {
	display *Display
	prefix  string
	mu      sync.Mutex
	streams []*stream
}

// Stream returns a writer that shows what is written to it, line by line, under the step. Each stream of a command has
// its own, so that half a line of one never runs into the other.
func (s *Step) Stream() io.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &stream{step: s}
	s.streams = append(s.streams, st)
	return st
}

// Line shows one line of rlbuild's own under the step.
func (s *Step) Line(text string) { s.display.line(s.prefix + Printable(text)) }

// Close shows what its streams still hold of unfinished lines.
func (s *Step) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		st.flush()
	}
	s.streams = nil
}

type stream struct {
	step    *Step
	mu      sync.Mutex
	pending []byte
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, p...)
	for {
		end := bytes.IndexByte(s.pending, '\n')
		if end < 0 {
			break
		}
		s.show(s.pending[:end])
		s.pending = s.pending[end+1:]
	}
	if len(s.pending) > maxLine {
		n := wholeRunes(s.pending)
		s.show(s.pending[:n])
		s.pending = s.pending[n:]
	}
	return len(p), nil
}

func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) > 0 {
		s.show(s.pending)
		s.pending = nil
	}
}

func (s *stream) show(line []byte) {
	text := strings.TrimRight(string(line), "\r")
	// Progress bars redraw their line with carriage returns: show what a terminal would have ended on.
	if last := strings.LastIndexByte(text, '\r'); last >= 0 {
		text = text[last+1:]
	}
	s.step.display.line(s.step.prefix + "| " + Printable(text))
}
