package engine

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
)

func TestEpilogue(t *testing.T) {
	for _, tc := range []struct {
		name    string
		printed string
		passed  string
		end     ending
	}{
		{"none", "a\nb\n", "a\nb\n", ending{}},
		{"no newline", "a\nb", "a\nb", ending{}},
		{"status, twice", "a\nsubprocess exited with status 3\nsubprocess exited with status 3\n", "a\n", ending{}},
		{"after an unfinished line", "err", "err", ending{}},
		{"signal", "a\nsubprocess exited on killed\nsubprocess exited with status 1\n", "a\n", ending{signal: syscall.SIGKILL}},
		{"oci signal", "container exited on terminated\n", "", ending{signal: syscall.SIGTERM}},
		{"not created", "error running container: from runc\ntime=x\n: exit\n", "", ending{reason: "from runc\ntime=x\n: exit\n"}},
		{"not started", "process failed to start with error: exec: x\nprocess exited with error: y\n", "", ending{reason: "exec: x"}},
		{"the command's own words", "subprocess exited with status 3\nand went on\n", "subprocess exited with status 3\nand went on\n", ending{}},
		{"nearly", "subprocess exited with", "subprocess exited with", ending{}},
	} {
		for _, step := range []int{1, 3, 1000} {
			var passed bytes.Buffer
			e := &epilogue{next: &passed}
			for rest := tc.printed; rest != ""; {
				n := min(step, len(rest))
				if _, err := e.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if end := e.end(); end != tc.end || passed.String() != tc.passed {
				t.Errorf("%s, %d bytes at a time: passed %q, %+v; want %q, %+v", tc.name, step, passed.String(), end, tc.passed, tc.end)
			}
		}
	}
}

// A terminal has one stream, in which the library's line may follow a line that the step left unfinished.
func TestEpilogueAtTerminal(t *testing.T) {
	for _, chunks := range [][]string{
		{"done\r\nhalf a linesubprocess exited with status 3\r\n"},
		{"done\r\nhalf a line", "subprocess exited with status 3\r\nsubprocess exited on killed\r\n"},
		{"done\r\nhalf a linesubprocess exited with status 3\r\n", "subprocess exited on killed\r\n"},
	} {
		var printed strings.Builder
		e := &epilogue{next: &printed, terminal: true}
		for _, chunk := range chunks {
			if _, err := e.Write([]byte(chunk)); err != nil {
				t.Fatal(err)
			}
		}
		e.end()
		if printed.String() != "done\r\nhalf a line" {
			t.Errorf("%q: printed %q", chunks, printed.String())
		}
	}
}
