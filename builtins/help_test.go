package builtins

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is generated instead of comparing it; `make docs` does")

// TestReferencePage holds the generated page to what help says.
func TestReferencePage(t *testing.T) {
	if *update {
		if err := os.WriteFile("REFERENCE.md", []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile("REFERENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != Reference() {
		t.Error("REFERENCE.md isn't what help says; run `make docs`")
	}
}

// TestEveryOptionIsExplained fails for a builtin without a text or an example, and for an option that has no text or that
// none of the examples shows. The end-to-end suite runs the examples (TestReference in cmd/rlbuild).
func TestEveryOptionIsExplained(t *testing.T) {
	for _, v := range documented() {
		if v.summary == "" || v.example == "" {
			t.Errorf("%s lacks its text or its example", v.name)
		}
		code := strings.Join(v.examples(), "\n")
		if !strings.Contains(code, v.name[strings.LastIndex(v.name, ".")+1:]+"(") {
			t.Errorf("%s isn't called in its examples", v.name)
		}
		for _, p := range v.params {
			if p.doc == "" {
				t.Errorf("%s: %s has no text", v.name, p.name)
			}
			if p.keyword && !regexp.MustCompile(`\b`+p.name+` ?= ?`).MatchString(code) {
				t.Errorf("%s: no example shows the option %s", v.name, p.name)
			}
		}
	}
}
