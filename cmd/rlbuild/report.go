package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/script"
)

// report prints an error for people: what failed and why, a failed command's last lines, where in the scripts, and what
// to do.
func report(w io.Writer, err error) {
	if err == nil {
		return
	}
	w = plain{w}
	var problems script.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			fmt.Fprintf(w, "rlbuild: %s\n", abridged(failure.Redact(p.Error())))
			for _, load := range p.Loads {
				fmt.Fprintf(w, "  at %s in load\n", load)
			}
			hint(w, p.Hint)
		}
		return
	}
	lines := strings.Split(strings.TrimRight(abridged(failure.Redact(err.Error())), "\n"), "\n")
	fmt.Fprintf(w, "rlbuild: %s\n", strings.Join(lines, "\n  "))
	for _, line := range failure.OutputOf(err) {
		fmt.Fprintf(w, "  | %s\n", line)
	}
	var failed *script.Error
	if errors.As(err, &failed) {
		for _, frame := range failed.Frames {
			fmt.Fprintf(w, "  at %s in %s\n", frame.Pos, frame.Name)
		}
	}
	hint(w, failure.HintOf(err))
}

// mostWord is how much of a word without a space in it is shown, in bytes, half of that from its beginning.
const mostWord = 800

// abridged returns a message without the middle of words that nobody would read: paths of a thousand directories, values nested
// ten thousand deep. Such an error is to be seen together with the place and the hint below it.
func abridged(message string) string {
	if len(message) <= mostWord {
		return message
	}
	return regexp.MustCompile(`\S{1000}\S*`).ReplaceAllStringFunc(message, func(word string) string {
		cut := len(word) - mostWord
		return strings.ToValidUTF8(word[:mostWord/2], "") + fmt.Sprintf("…(%d bytes)…", cut) + strings.ToValidUTF8(word[len(word)-mostWord/2:], "")
	})
}

// hint prints what to do, in the style of the messages: lower case, no full stop.
func hint(w io.Writer, text string) {
	if text == "" {
		return
	}
	first, size := utf8.DecodeRuneInString(text)
	if second, _ := utf8.DecodeRuneInString(text[size:]); unicode.IsLower(second) {
		text = string(unicode.ToLower(first)) + text[size:]
	}
	fmt.Fprintf(w, "hint: %s\n", strings.TrimSuffix(text, "."))
}

// plain writes whole lines that can't do anything to a terminal: messages quote scripts, commands, images and registries.
type plain struct{ w io.Writer }

func (p plain) Write(text []byte) (int, error) {
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		whole := strings.TrimSuffix(line, "\n")
		b.WriteString(output.Printable(whole) + line[len(whole):])
	}
	_, err := io.WriteString(p.w, b.String())
	return len(text), err
}
