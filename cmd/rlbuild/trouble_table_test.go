package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/trouble"
)

// TestTroubleTable makes the README's table of what users see, why it happens and what to do from the source of the hints.
func TestTroubleTable(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("| what you see | why | what to do |\n|---|---|---|\n")
	for _, group := range trouble.Table() {
		fmt.Fprintf(&rows, "| **%s** | | |\n", group.Title)
		for _, known := range group.Troubles {
			fmt.Fprintf(&rows, "| %s | %s | %s |\n", cell("`"+known.See+"`"), cell(known.Why), cell(known.Cure))
		}
	}
	generated(t, "troubles", rows.String())
}

// cell makes text fit for a table: {facts} in italics, and no bars.
func cell(text string) string {
	text = strings.ReplaceAll(text, "|", "\\|")
	return regexp.MustCompile(`\{([a-z ]+)\}`).ReplaceAllString(text, "*$1*")
}

// TestTroublesAreTested looks for the tests of each known trouble: one that makes the fault and reads the sentence, marked
// with a comment "fault: NAME", and one of a look-alike that must not be taken for it, marked "look-alike: NAME".
func TestTroublesAreTested(t *testing.T) {
	marked := map[string]bool{}
	mark := regexp.MustCompile(`(?m)^\s*(?:#|//) (fault|look-alike): ([a-z0-9, -]+)$`)
	for _, top := range []string{"../../testdata", "../../engine", "../../cmd", "../../builtins"} {
		err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".txtar") && !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range mark.FindAllStringSubmatch(string(text), -1) {
				for name := range strings.SplitSeq(m[2], ",") {
					marked[m[1]+": "+strings.TrimSpace(name)] = true
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	known := map[string]bool{}
	for _, group := range trouble.Table() {
		for _, one := range group.Troubles {
			if known[one.Name] {
				t.Errorf("two troubles are named %s", one.Name)
			}
			known[one.Name] = true
			for _, kind := range []string{"fault", "look-alike"} {
				if !marked[kind+": "+one.Name] {
					t.Errorf("no test is marked %q", kind+": "+one.Name)
				}
			}
		}
	}
	for mark := range marked {
		if _, name, _ := strings.Cut(mark, ": "); !known[name] {
			t.Errorf("a test is marked %q, and there is no such trouble", mark)
		}
	}
}
