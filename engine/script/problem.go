package script

import (
	"cmp"
	"slices"
	"strings"

	"go.starlark.net/syntax"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Problem is one mistake in a script's text.
type Problem struct {
	Pos     syntax.Position
	Message string            // what is wrong, without position or hint
	Hint    string            // what to write instead, a sentence; may be empty
	Loads   []syntax.Position // the load statements that lead to the file, outermost first; none for the entry script
}

// Error returns "file:line:column: message".
func (p Problem) Error() string { return p.Pos.String() + ": " + p.Message }

// Problems is every mistake that Parse found: those of the entry script first, then those of each library in the order
// of loading; within a file in the order of the text.
type Problems []Problem

// Error returns one line for each problem and, after the problems of a library, one for each load that leads to it.
func (ps Problems) Error() string {
	var lines []string
	for i, p := range ps {
		lines = append(lines, p.Error())
		if i+1 < len(ps) && ps[i+1].Pos.Filename() == p.Pos.Filename() {
			continue
		}
		for _, pos := range slices.Backward(p.Loads) {
			lines = append(lines, "  loaded at "+pos.String())
		}
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) failure() error {
	err := (&failure.Error{Err: ps}).WithKind(failure.Usage)
	for _, p := range ps {
		if p.Hint != "" {
			err.Hint = p.Hint
			break
		}
	}
	return err
}

// inOrder sorts the problems of one file by position and keeps only the first at a position, and the first use
// of an undefined name: more of them tell nothing new.
func (ps Problems) inOrder() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
	})
	ps = slices.CompactFunc(ps, func(a, b Problem) bool { return a.Pos == b.Pos })
	seen := map[string]bool{}
	return slices.DeleteFunc(ps, func(p Problem) bool {
		again := seen[p.Message]
		seen[p.Message] = true
		return again && strings.HasPrefix(p.Message, "undefined: ")
	})
}
