package output

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDisplayKeepsLinesUnderTheirStep(t *testing.T) {
	var shown bytes.Buffer
	d := New(&shown)
	first := d.Step("run one")
	out, errs := first.Stream(), first.Stream()
	write(t, out, "half ")
	write(t, errs, "an error\n")
	write(t, out, "a line\nredrawn\rfinal\n\x1b[31mred\x1b[0m \x1b]0;title\x07\n")
	write(t, out, "unfinished")
	first.Close()
	d.Step("run two").Close()
	want := strings.Join([]string{
		"#1 run one",
		"#1 | an error",
		"#1 | half a line",
		"#1 | final",
		"#1 | red ·]0;title·",
		"#1 | unfinished",
		"#2 run two",
		"",
	}, "\n")
	if shown.String() != want {
		t.Errorf("shown:\n%s\nwant:\n%s", shown.String(), want)
	}
}

func TestDisplayCutsEndlessLines(t *testing.T) {
	var shown bytes.Buffer
	s := New(&shown).Step("run")
	w := s.Stream()
	for range 100 {
		write(t, w, strings.Repeat("x", 1000))
	}
	if shown.Len() < 90_000 {
		t.Errorf("%d bytes shown before the line ended, want nearly all of 100,000", shown.Len())
	}
}

func TestCaptureSpillsAndBounds(t *testing.T) {
	dir := t.TempDir()
	c := NewCapture(dir)
	chunk := []byte(strings.Repeat("0123456789abcde\n", 4096)) // 64 KiB
	for range 3 {
		write(t, c, string(chunk))
	}
	text, err := c.Text()
	if err != nil || text != strings.Repeat(string(chunk), 3) {
		t.Fatalf("Text: %d bytes, %v; want %d", len(text), err, 3*len(chunk))
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("the spill file has a name: %v", left)
	}
	for c.Size() <= onDisk {
		write(t, c, string(chunk))
	}
	if _, err := c.Text(); err == nil {
		t.Error("Text succeeded though more was written than is kept")
	}
	write(t, c, "the end\n\n")
	if tail := c.Tail(2); len(tail) != 2 || tail[1] != "the end" || tail[0] != "0123456789abcde" {
		t.Errorf("Tail = %q", tail)
	}
	info, err := c.file.Stat()
	if err != nil || info.Size() > onDisk {
		t.Errorf("spill file is %d bytes (%v), want at most %d", info.Size(), err, onDisk)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, w interface{ Write([]byte) (int, error) }, text string) {
	t.Helper()
	if n, err := w.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("Write = %d, %v", n, err)
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext, größer":                      "plain\ttext, größer",
		"\x1b[31mred\x1b[0m":                       "red",
		"\x1b[2J\x1b[1;1Hgone":                     "gone",
		"\x1b]52;c;aGk=\x07":                       "·]52;c;aGk=·",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "·]8;;http://x·\\link·]8;;·\\",
		"back\b\b\b\bgone":                         "back····gone",
		"two\nlines\rone":                          "two·lines·one",
		"\u009b31mC1 \u0085":                       "·31mC1 ·",
		"bytes \x9b31m \xff":                       "bytes \ufffd31m \ufffd",
		"user\u202egnp.exe":                        "user·gnp.exe",
		"\u2066a\u2069 \u200f":                     "·a· ·",
		"half \x1b[":                               "half ",
		"DEL \x7f NUL \x00":                        "DEL · NUL ·",
	} {
		if got := Printable(text); got != want {
			t.Errorf("Printable(%q) = %q, want %q", text, got, want)
		}
	}
}

// FuzzShown holds that whatever a command prints, in whatever pieces, every line that is shown is harmless and belongs to its
// step, nothing printable is lost, and what was captured is what was printed.
func FuzzShown(f *testing.F) {
	f.Add([]byte("a\x1b[31mb\r\nc"), uint16(3))
	f.Add([]byte("\x9b\xe2\x80\xae\n\n"), uint16(1))
	f.Add([]byte("half a line"), uint16(100))
	f.Fuzz(func(t *testing.T, data []byte, piece uint16) {
		var shown bytes.Buffer
		step := New(&shown).Step("run")
		captured := NewCapture(t.TempDir())
		defer captured.Close()
		w := io.MultiWriter(step.Stream(), captured)
		for rest := data; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			write(t, w, string(rest[:n]))
			rest = rest[n:]
		}
		step.Close()
		for _, line := range strings.Split(strings.TrimSuffix(shown.String(), "\n"), "\n")[1:] {
			if !strings.HasPrefix(line, "#1 | ") || strings.IndexFunc(line, isUnsafe) >= 0 || !utf8.ValidString(line) {
				t.Errorf("shown: %q", line)
			}
		}
		if lines := bytes.Count(data, []byte("\n")); strings.Count(shown.String(), "\n") < lines+1 {
			t.Errorf("%d lines of %q are shown as %q", lines, data, shown.String())
		}
		if text, err := captured.Text(); err != nil || text != string(data) {
			t.Errorf("captured %q, %v; want %q", text, err, data)
		}
		for _, line := range captured.Tail(5) {
			if strings.IndexFunc(line, isUnsafe) >= 0 || !utf8.ValidString(line) || strings.TrimSpace(line) == "" {
				t.Errorf("tail: %q", line)
			}
		}
		whole := Printable(string(data))
		if strings.IndexFunc(whole, isUnsafe) >= 0 || !utf8.ValidString(whole) || Printable(whole) != whole {
			t.Errorf("Printable(%q) = %q", data, whole)
		}
	})
}
