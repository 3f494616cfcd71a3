package transfer

import (
	"fmt"
	"strings"

	"go.podman.io/storage/pkg/fileutils"
)

// exclusion is a list of .containerignore patterns. The matching is the library's own, so that both agree.
type exclusion struct{ patterns *fileutils.PatternMatcher }

// newExclusion returns nil, which excludes nothing, for no patterns.
func newExclusion(patterns []string) (*exclusion, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	matcher, err := fileutils.NewPatternMatcher(patterns)
	if err != nil {
		return nil, fmt.Errorf("processing excludes list %v: %w", patterns, err)
	}
	e := &exclusion{matcher}
	// A pattern is compiled when it is first used; a broken one should be known before something is copied.
	if _, err := matcher.IsMatch("x"); err != nil {
		return nil, fmt.Errorf("processing excludes list %v: %w", patterns, err)
	}
	return e, nil
}

// matches tells whether a name, absolute in the sources' tree, is excluded.
func (e *exclusion) matches(name string) bool {
	if e == nil || name == "/" {
		return false
	}
	matched, err := e.patterns.IsMatch(strings.TrimPrefix(name, "/"))
	return err == nil && matched // newExclusion has compiled every pattern
}

// mayIncludeBelow tells whether a pattern with "!" names something below an excluded directory.
func (e *exclusion) mayIncludeBelow(dir string) bool {
	return e.exception(func(spec string) bool {
		return strings.HasPrefix(strings.TrimPrefix(spec, "/"), strings.TrimPrefix(dir, "/")+"/")
	})
}

// mayDescend is mayIncludeBelow for a directory that is met on the way down, where the library is more generous: it
// compares without regard to where a name ends.
func (e *exclusion) mayDescend(dir string) bool {
	return e.exception(func(spec string) bool {
		return strings.HasPrefix(strings.Trim(spec, "/")+"/", strings.Trim(dir, "/"))
	})
}

func (e *exclusion) exception(holds func(spec string) bool) bool {
	for _, p := range e.patterns.Patterns() {
		if p.Exclusion() && holds(p.String()) {
			return true
		}
	}
	return false
}
