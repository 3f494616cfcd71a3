package engine

import (
	"fmt"
	"strings"
)

// Reclaimed is what was found of dead runs.
type Reclaimed struct {
	Runs int      // of which something was there
	Gone []Gone   // in the order it went
	Left []string // what is still there and why, a line each
	Wait []string // what stays for now, and why, a line each
}

// Gone is one thing that isn't there any more.
type Gone struct{ Kind, Name string }

// Summary counts what is gone: "2 containers, 1 process".
func (r *Reclaimed) Summary() string {
	var kinds []string
	count := map[string]int{}
	for _, gone := range r.Gone {
		if count[gone.Kind]++; count[gone.Kind] == 1 {
			kinds = append(kinds, gone.Kind)
		}
	}
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", count[kind], plural(kind, count[kind]))
	}
	return strings.Join(kinds, ", ")
}

func plural(noun string, n int) string {
	switch {
	case n == 1:
		return noun
	case strings.HasSuffix(noun, "ss"):
		return noun + "es"
	case strings.HasSuffix(noun, "y"):
		return strings.TrimSuffix(noun, "y") + "ies"
	}
	return noun + "s"
}
