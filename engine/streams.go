package engine

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/rlbuild/rlbuild/engine/output"
)

// streams carry a command's output to the display and to captures. The command gets pipes, not Go writers: waiting for
// a command would otherwise wait for whatever it left running with its output open.
type streams struct {
	run            *Builder
	step           *output.Step
	stdout, stderr *os.File // the command's ends
	captures       [2]*output.Capture
	readers        sync.WaitGroup
	readEnds       []*os.File
	epilogue       *epilogue // on standard error, or nil
}

// startStreams shows a step and makes what its output goes to. With epilogue, what the library's helpers say on standard
// error after the step is taken out of it.
func (b *Builder) startStreams(title string, withEpilogue bool) (*streams, error) {
	s := &streams{run: b}
	var ends [2]*os.File
	for i := range ends {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("making a pipe for a step's output: %w", err)
		}
		s.readEnds = append(s.readEnds, r)
		ends[i] = w
	}
	s.stdout, s.stderr = ends[0], ends[1]
	s.step = b.options.Display.Step(title)
	for i, r := range s.readEnds {
		s.captures[i] = b.capture()
		var to io.Writer = tee{s.step.Stream(), s.captures[i]}
		if withEpilogue && r == s.readEnds[1] {
			s.epilogue = &epilogue{next: to}
			to = s.epilogue
		}
		s.readers.Go(func() {
			_, _ = io.Copy(to, r) // ends with the pipe, or when finish says so
		})
	}
	return s, nil
}

// tee shows and keeps. A full disk must not stop a command from being read: what can't be kept is still shown, and
// Capture.Text says what happened when it is asked.
type tee struct{ shown, kept io.Writer }

func (t tee) Write(p []byte) (int, error) {
	_, _ = t.kept.Write(p)
	return t.shown.Write(p)
}

// finish waits until everything that was printed has been read.
func (s *streams) finish(title string, argv []string) (*Result, ending) {
	s.stdout.Close()
	s.stderr.Close()
	// A process that outlived the step, and may go on, can still hold the pipes: don't wait for its end.
	for _, r := range s.readEnds {
		_ = r.SetReadDeadline(time.Now().Add(time.Second))
	}
	s.readers.Wait()
	for _, r := range s.readEnds {
		r.Close()
	}
	var end ending
	if s.epilogue != nil {
		end = s.epilogue.end()
	}
	s.step.Close()
	return &Result{Title: title, Argv: argv, Stdout: s.captures[0], Stderr: s.captures[1]}, end
}
