package transfer

import (
	"strings"
	"testing"

	"go.podman.io/storage/pkg/fileutils"
)

// FuzzExclusion holds that the patterns of a .containerignore file, whatever they are, exclude what the library excludes, and
// that nothing is missed that a pattern with "!" includes again below an excluded directory.
func FuzzExclusion(f *testing.F) {
	f.Add("*\n!keep/this", "/keep/this")
	f.Add("[a-", "/a")
	f.Add("**/x\n!**/y\n\\", "/a/b/x")
	f.Add("a\\", "/a")
	f.Fuzz(func(t *testing.T, text, name string) {
		var patterns []string
		for line := range strings.SplitSeq(text, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				patterns = append(patterns, line)
			}
		}
		e, err := newExclusion(patterns)
		if err != nil || e == nil {
			return
		}
		name = "/" + strings.Trim(name, "/")
		matched := e.matches(name)
		e.mayIncludeBelow(name)
		e.mayDescend(name)
		if name == "/" {
			if matched {
				t.Error("the root itself is excluded")
			}
			return
		}
		m, err := fileutils.NewPatternMatcher(patterns)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := m.IsMatch(name[1:]); err == nil && want != matched {
			t.Errorf("%q with %q: %v, want %v", name, patterns, matched, want)
		}
	})
}
