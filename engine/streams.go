package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/output"
)

// streams carry a command's input, and its output to the display and to captures. The command gets pipes or a terminal, not
// Go writers: waiting for a command would otherwise wait for whatever it left running with its output open.
type streams struct {
	run                   *Builder
	step                  *output.Step
	stdin, stdout, stderr *os.File // the command's ends of pipes; nil for one with a terminal of ours
	input                 *Input
	user                  *Terminal // the user at his terminal is who the command talks to; or nil
	captures              [2]*output.Capture
	readers               sync.WaitGroup
	readEnds              []*os.File
	feeder                *feeder
	typist                *typist
	epilogues             []*epilogue
}

// outputGrace is how long the output of a command that has ended is waited for, where something holds its end open.
const outputGrace = time.Second

// streamOptions says how a command's streams are to be.
type streamOptions struct {
	input    *Input // nil: nothing, or at a terminal what the user types
	terminal terminalOf
	epilogue bool // what the library's helpers say after the step, on standard error or its terminal, is taken out
}

// terminalOf says who makes a command's terminal.
type terminalOf int

const (
	nobody  terminalOf = iota // it has none
	library                   // which relays it to pipes
	ours                      // to be passed to attach
)

// startStreams shows a step and makes what its streams go to. Call finish unless it fails.
func (b *Builder) startStreams(title string, o streamOptions) (*streams, error) {
	s := &streams{run: b, input: o.input, captures: [2]*output.Capture{b.capture(), b.capture()}}
	s.step = b.options.Display.Step(title)
	if o.terminal != nobody && o.input == nil && b.options.Terminal.interactive() {
		s.user = b.options.Terminal
	}
	err := b.makeRaw(s.user)
	if err == nil && o.terminal != ours {
		err = s.openPipes(o)
	}
	if err != nil {
		_, _, _ = s.finish(title, nil)
		return nil, err
	}
	return s, nil
}

// openPipes makes pipes for all three streams.
func (s *streams) openPipes(o streamOptions) (err error) {
	for i, end := range []**os.File{&s.stdout, &s.stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("making a pipe for a step's output: %w", err)
		}
		*end = w
		s.readEnds = append(s.readEnds, r)
		to := s.output(i)
		if o.epilogue && (i == 1 || o.terminal != nobody) {
			e := &epilogue{next: to, terminal: i == 0}
			s.epilogues = append(s.epilogues, e)
			to = e
		}
		s.read(r, to)
	}
	if o.input == nil && o.terminal == nobody {
		if s.stdin, err = os.Open(os.DevNull); err != nil {
			return fmt.Errorf("opening the step's standard input: %w", err)
		}
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe for a step's input: %w", err)
	}
	s.stdin = r
	s.send(sink{File: w, terminal: o.terminal != nobody, pipe: true})
	return nil
}

// attach connects the master end of the command's terminal, which is closed by finish.
func (s *streams) attach(master *os.File) {
	s.readEnds = append(s.readEnds, master)
	s.read(master, s.output(0))
	s.send(sink{File: master, terminal: true})
}

// send starts to write the input, or what the user types.
func (s *streams) send(to sink) {
	if s.user != nil {
		s.typist = newTypist(s.user, to)
	} else {
		s.feeder = feed(s.input, to)
	}
}

// output is where stream i goes. To a user at his terminal it goes as it comes.
func (s *streams) output(i int) io.Writer {
	if s.user != nil {
		return tee{s.user.Out, s.captures[i]}
	}
	return tee{s.step.Stream(), s.captures[i]}
}

// read passes on what is printed, until the pipe or terminal ends, or finish says so.
func (s *streams) read(from *os.File, to io.Writer) {
	s.readers.Go(func() {
		// Who looks at the display may be slow, and what was printed in time is still in the pipe then.
		if _, err := io.Copy(to, from); errors.Is(err, os.ErrDeadlineExceeded) {
			_, _ = to.Write(arrived(from))
		}
	})
}

// arrived takes what is in a pipe or terminal past its deadline, after which Go refuses to read although there is something.
func arrived(from *os.File) []byte {
	conn, err := from.SyscallConn()
	if err != nil {
		return nil
	}
	var text []byte
	_ = conn.Control(func(fd uintptr) {
		count, _ := unix.IoctlGetInt(int(fd), unix.TIOCINQ) // none is as good
		// No more than that: something may go on printing.
		for len(text) < count {
			piece := make([]byte, count-len(text))
			n, err := unix.Read(int(fd), piece) // it doesn't wait, or there would be no deadline
			if err == unix.EINTR {
				continue
			}
			if n <= 0 {
				return
			}
			text = append(text, piece[:n]...)
		}
	})
	return text
}

// tee shows and keeps. A full disk must not stop a command from being read: what can't be kept is still shown, and
// Capture.Text says what happened when it is asked.
type tee struct{ shown, kept io.Writer }

func (t tee) Write(p []byte) (int, error) {
	_, _ = t.kept.Write(p)
	return t.shown.Write(p)
}

// finish waits until everything that was printed has been read, and gives the user his terminal back. The error is that of
// reading the command's input.
func (s *streams) finish(title string, argv []string) (*Result, ending, error) {
	for _, end := range []*os.File{s.stdin, s.stdout, s.stderr} {
		if end != nil {
			end.Close()
		}
	}
	s.typist.stop()
	err := s.feeder.stop()
	// A process that outlived the step, and may go on, can still hold the pipes: don't wait for its end.
	for _, r := range s.readEnds {
		_ = r.SetReadDeadline(time.Now().Add(outputGrace))
	}
	s.readers.Wait()
	for _, r := range s.readEnds {
		r.Close()
	}
	var end ending
	for _, e := range s.epilogues {
		end = end.and(e.end())
	}
	err = errors.Join(err, s.run.restoreTerminal())
	s.step.Close()
	return &Result{Title: title, Argv: argv, Stdout: s.captures[0], Stderr: s.captures[1]}, end, err
}
