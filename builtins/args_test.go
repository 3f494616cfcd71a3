package builtins

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/script"
)

// TestArguments runs the chunks of testdata/args, which are separated by lines of "---". A line that ends in
// "### REGEXP" must fail with a message that matches; a chunk without one must run.
func TestArguments(t *testing.T) {
	files, err := filepath.Glob("../testdata/args/*.star")
	if err != nil || len(files) == 0 {
		t.Fatalf("no chunks: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		line := 1
		for chunk := range strings.SplitSeq(string(text), "\n---\n") {
			// Blank lines in front keep the file's line numbers.
			checkChunk(t, file, strings.Repeat("\n", line-1)+chunk)
			line += strings.Count(chunk, "\n") + 2
		}
	}
}

func checkChunk(t *testing.T, file, chunk string) {
	t.Helper()
	wantLine, want := 0, ""
	for i, line := range strings.Split(chunk, "\n") {
		if _, pattern, found := strings.Cut(line, "### "); found {
			wantLine, want = i+1, pattern
		}
	}
	message, gotLine := runChunk(t, file, chunk)
	switch {
	case want == "" && message != "":
		t.Errorf("%s:%d: %s", file, gotLine, message)
	case want != "" && (message == "" || !regexp.MustCompile(want).MatchString(message)):
		t.Errorf("%s:%d: got %q, want a match for %s", file, wantLine, message, want)
	case want != "" && gotLine != wantLine:
		t.Errorf("%s: failed in line %d, want %d: %s", file, gotLine, wantLine, message)
	}
}

// runChunk returns the message a chunk fails with and the line it fails in, or "". There are no containers: whatever a
// chunk asks the engine for is refused before it gets there, or the test dies of a nil pointer.
func runChunk(t *testing.T, file, chunk string) (message string, line int) {
	t.Helper()
	session := New(Options{Script: file, Dir: t.TempDir(), Env: map[string]string{"SET": "x"}})
	if err := session.Start(func() (*engine.Builder, error) { return &engine.Builder{}, nil }); err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	program, err := script.Parse(script.Options{Path: file, Source: []byte(chunk), Predeclared: session.Predeclared()})
	var problems script.Problems
	if errors.As(err, &problems) {
		return problems[0].Message, int(problems[0].Pos.Line)
	} else if err != nil {
		t.Fatal(err)
	}
	var failed *script.Error
	if err := program.Run(context.Background()); errors.As(err, &failed) {
		if len(failed.Frames) == 0 {
			t.Fatalf("%s: no place is known of: %v", file, failed)
		}
		return failed.Error(), int(failed.Frames[len(failed.Frames)-1].Pos.Line)
	} else if err != nil {
		t.Fatal(err)
	}
	return "", 0
}

// TestHelp checks that everything a script can name is explained.
func TestHelp(t *testing.T) {
	for _, v := range documented() {
		text := Help(v.name)
		if v.summary == "" || strings.TrimSpace(v.example) == "" || !strings.Contains(text, v.name+"(") {
			t.Errorf("%s lacks a summary, an example or a signature:\n%s", v.name, text)
		}
		many := false
		for _, p := range v.params {
			if p.doc == "" || p.kind.want == "" || p.kind.takes == nil {
				t.Errorf("%s: parameter %s lacks its text or kind", v.name, p.name)
			}
			if strings.HasSuffix(p.doc, ".") {
				t.Errorf("%s: the text of %s ends in a full stop, which help adds", v.name, p.name)
			}
			if many && !p.keyword {
				t.Errorf("%s: %s comes behind a parameter that takes all that is left", v.name, p.name)
			}
			many = many || p.many
		}
	}
}
