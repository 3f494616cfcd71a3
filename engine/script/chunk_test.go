package script

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// chunk is one script of a chunked file: scripts are separated by lines of three dashes, and a comment
//
//	### "message" "hint"
//
// says that its line fails with a message, and a hint, that match the regular expressions. Without the second, any hint
// will do; "-" means none.
type chunk struct {
	name   string
	source string // with empty lines in front, so that line numbers are those of the file
	want   map[int][]*regexp.Regexp
}

func readChunks(t *testing.T, file string) []chunk {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var chunks []chunk
	line := 1
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		c := chunk{
			name:   fmt.Sprintf("%s:%d", file, line),
			source: strings.Repeat("\n", line-1) + text + "\n",
			want:   map[int][]*regexp.Regexp{},
		}
		for row := range strings.SplitSeq(text, "\n") {
			if _, expected, ok := strings.Cut(row, "###"); ok {
				c.want[line] = patterns(t, c.name, expected)
			}
			line++
		}
		line++ // the dashes
		chunks = append(chunks, c)
	}
	return chunks
}

func patterns(t *testing.T, name, text string) []*regexp.Regexp {
	t.Helper()
	var out []*regexp.Regexp
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			t.Fatalf("%s: expectation %q: %v", name, text, err)
		}
		pattern, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: expectation %q: %v", name, quoted, err)
		}
		if pattern == "-" {
			pattern = "^$"
		}
		out = append(out, regexp.MustCompile(pattern))
		text = text[len(quoted):]
	}
	return out
}

// got reports an error at a line, as expected or not.
func (c *chunk) got(t *testing.T, line int, message, hint string) {
	t.Helper()
	want, ok := c.want[line]
	if !ok {
		t.Errorf("%s: line %d: unexpected error %q, hint %q", c.name, line, message, hint)
		return
	}
	delete(c.want, line)
	if !want[0].MatchString(message) {
		t.Errorf("%s: line %d: message %q doesn't match %q", c.name, line, message, want[0])
	}
	if len(want) > 1 && !want[1].MatchString(hint) {
		t.Errorf("%s: line %d: hint %q doesn't match %q", c.name, line, hint, want[1])
	}
}

// done reports the errors that were expected and didn't come.
func (c *chunk) done(t *testing.T) {
	t.Helper()
	for line, want := range c.want {
		t.Errorf("%s: line %d: no error; want %q", c.name, line, want)
	}
}
