package output

import (
	"bytes"
	"os"
	"strings"
	"testing"
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
