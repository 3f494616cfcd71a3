package script

import (
	"slices"
	"strings"
	"unicode"
)

// Nearest returns the candidate that name is most likely a misspelling of, or "" when none is near. Case and
// underscores don't count, and less than half of the letters may be wrong; two swapped letters are one mistake.
func Nearest(name string, candidates []string) string {
	want := fold(name)
	best, nearest := (len(want)+1)/2, ""
	if best == 0 {
		return ""
	}
	for _, candidate := range slices.Sorted(slices.Values(candidates)) {
		have, limit := fold(candidate), best
		if len(want) == 2 && len(have) == 3 && nearest == "" {
			limit = 2 // a third letter may have been forgotten, though one of two is half
		}
		if d := distance(want, have, limit); d < limit {
			best, nearest = d, candidate
		}
	}
	return nearest
}

func fold(name string) []rune {
	return []rune(strings.Map(func(r rune) rune {
		if r == '_' {
			return -1
		}
		return unicode.ToLower(r)
	}, name))
}

// distance returns the optimal string alignment distance of a and b, or any number of at least limit when the distance
// is not below it.
func distance(a, b []rune, limit int) int {
	if abs := len(a) - len(b); abs >= limit || -abs >= limit {
		return limit
	}
	var before []int // the row before the last
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		lowest := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			lowest = min(lowest, row[j])
		}
		// A swap reaches back two rows, so a row that is at the limit throughout isn't the end yet.
		if lowest > limit {
			return limit
		}
		before, last = last, row
	}
	return last[len(b)]
}
