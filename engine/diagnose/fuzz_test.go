package diagnose

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzProgram reads the headers of programs that images hold, which may be anything.
func FuzzProgram(f *testing.F) {
	for _, file := range []string{"/bin/true", "/bin/sh", "/proc/self/exe"} {
		if head, err := os.ReadFile(file); err == nil {
			f.Add(head[:min(len(head), 1024)])
		}
	}
	f.Add([]byte("\x7fELF\x02\x02"))
	f.Fuzz(func(t *testing.T, content []byte) {
		program, ok := readELF(bytes.NewReader(content))
		if !ok && program.loader != "" || len(program.loader) > longestLoader || program.loader != "" && !bytes.Contains(content, []byte(program.loader)) {
			t.Errorf("got %+v, %t", program, ok)
		}
		_ = program.architecture() // of a machine that nobody knows as well
	})
}

// FuzzDiagnosis has a program be any bytes and print any line, and says why the step with it failed: in terms of what is there.
func FuzzDiagnosis(f *testing.F) {
	for _, seed := range []struct{ program, line string }{
		{"#!/usr/bin/python3\n", "/bin/sh: line 3: /app/script: not found"},
		{"#!/bin/sh2\r\n", "/bin/sh: /app/script: not found"},
		{"#! /bin/env -S -i A=b python9 -x\n", "/usr/bin/env: 'python9': No such file or directory"},
		{"#!/app/script\n", "exec /app/script: no such file or directory"},
		{"#!/bin/env\n#!", "exec /app/script: exec format error"},
		{"#!/bin/env --\r", "/bin/sh: 1: /app/script: not found"},
		{"#!/nowhere/\x1b[31mred \n", "/app/script: line 1: syntax error"},
		{"#!", "chown: changing ownership of '/etc/passwd': Invalid argument"},
		{"", "mkdir: cannot create directory '/app/data/x': Not a directory"},
		{"\x7fELF\x02\x01", "useradd: cannot lock /etc/passwd; try again later."},
	} {
		f.Add([]byte(seed.program), seed.line, uint8(127))
	}
	s := stage(f, "/app/script")
	file := filepath.Join(s.Files.Dir(), "app/script")
	f.Fuzz(func(t *testing.T, program []byte, line string, code uint8) {
		check(t, os.WriteFile(file, program, 0o755))
		for _, errno := range []syscall.Errno{0, unix.ENOENT, unix.ENOEXEC} {
			found := s.NotRun([]string{"/app/script"}, errno)
			if found == nil {
				continue
			}
			if name := found.Facts["interpreter"]; name != "" && !bytes.Contains(program, []byte(name)) {
				t.Errorf("%q has no interpreter %q", program, name)
			}
			filled(t, found)
		}
		if found := s.Printed(int(code), []string{line}); found != nil {
			filled(t, found)
		}
	})
}

// filled holds that what is said of a cause has no blanks left.
func filled(t *testing.T, found *Cause) {
	t.Helper()
	for _, left := range blank.FindAllString(found.Of.Why+found.Of.Cure, -1) {
		if _, known := found.Facts[strings.Trim(left, "{}")]; !known {
			t.Errorf("%s: nothing is known of %s", found.Of.Name, left)
		}
	}
}

var blank = regexp.MustCompile(`\{[a-z]+\}`)
