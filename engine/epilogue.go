package engine

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// epilogueText is what the library's own helpers print on a step's standard error, after the step, to say how it ended
// (chroot/run_common.go and run_common.go of buildah). A terminal ends lines with "\r\n".
const epilogueText = `(?:subprocess exited with status \d+` +
	`|(?:subprocess|container) exited on (?P<signal>[^\r\n]+)` +
	`|process (?:failed to start|exited) with error: (?P<error>[^\r\n]*))\r?`

// epilogueLine matches a line of theirs, and epilogueEnd one behind something else in the same line.
var (
	epilogueLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^` + epilogueText + `$`) })
	epilogueEnd  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(epilogueText + `\n$`) })
)

// epilogueStarts are the beginnings of those lines, by which an unfinished line is told apart.
var epilogueStarts = []string{"subprocess exited ", "container exited on ", "process failed to start ", "process exited with error: "}

// notCreated begins the last thing that is printed when the runtime could not start the command. The runtime's own log
// follows, over several lines.
const notCreated = "error running container: "

// maxEpilogue bounds what is withheld, bytes.
const maxEpilogue = 16 << 10

// epilogue passes a command's standard error on, except for the library's last lines. A command may print the same
// words: lines are only withheld as long as nothing else follows them.
type epilogue struct {
	next     io.Writer
	held     []byte
	terminal bool // a terminal's only stream: the step's last line may lack its end, and the first one of ours follows it
}

func (e *epilogue) Write(p []byte) (int, error) {
	e.held = append(e.held, p...)
	if cut := e.cut(); cut > 0 {
		if _, err := e.next.Write(e.held[:cut]); err != nil {
			return 0, err
		}
		e.held = append(e.held[:0], e.held[cut:]...)
	}
	return len(p), nil
}

// cut returns where in what is held the lines begin that may be the last.
func (e *epilogue) cut() int {
	if len(e.held) > maxEpilogue {
		return len(e.held)
	}
	for start := 0; start < len(e.held); start++ {
		line := e.held[start:]
		if bytes.HasPrefix(line, []byte(notCreated)) || strings.HasPrefix(notCreated, string(line)) {
			return start
		}
		end := bytes.IndexByte(line, '\n')
		if end < 0 {
			break
		}
		start += end
	}
	cut := len(e.held)
	for cut > 0 {
		start := bytes.LastIndexByte(e.held[:cut-1], '\n') + 1
		if !mayBeEpilogue(string(e.held[start:cut])) {
			if glued := epilogueEnd().FindIndex(e.held[start:cut]); e.terminal && glued != nil {
				cut = start + glued[0]
			}
			break
		}
		cut = start
	}
	return cut
}

// mayBeEpilogue reports whether a line is one of the library's, or could become one when it is complete.
func mayBeEpilogue(line string) bool {
	if complete, ok := strings.CutSuffix(line, "\n"); ok {
		return epilogueLine().MatchString(complete)
	}
	for _, start := range epilogueStarts {
		if strings.HasPrefix(line, start) || strings.HasPrefix(start, line) {
			return true
		}
	}
	return false
}

// ending is what the withheld lines say.
type ending struct {
	signal syscall.Signal // that ended the command, or 0
	reason string         // why the command could not be run, or ""
}

// and returns what two streams' lines say together.
func (e ending) and(other ending) ending {
	if other.signal != 0 {
		e.signal = other.signal
	}
	if e.reason == "" {
		e.reason = other.reason
	}
	return e
}

// end passes on what turned out to be no line of the library's, and returns what its lines say.
func (e *epilogue) end() ending {
	var found ending
	if reason, ok := strings.CutPrefix(string(e.held), notCreated); ok {
		found.reason = reason
		return found
	}
	if !bytes.HasSuffix(e.held, []byte("\n")) {
		_, _ = e.next.Write(e.held) // shown and kept as well as it can be
		return found
	}
	for line := range strings.Lines(string(e.held)) {
		match := epilogueLine().FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if name := match[epilogueLine().SubexpIndex("signal")]; name != "" {
			found.signal = signalNamed(name)
		}
		if reason := match[epilogueLine().SubexpIndex("error")]; reason != "" && found.reason == "" {
			found.reason = reason
		}
	}
	return found
}

// signalNamed returns the signal of that name as syscall.Signal prints it, "killed", or 0.
func signalNamed(name string) syscall.Signal {
	for s := syscall.Signal(1); s < 65; s++ {
		if s.String() == name {
			return s
		}
	}
	return 0
}
