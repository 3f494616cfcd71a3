package rootless

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseClaims(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "[] []",
		"alice:100000:65536\n":            "[alice 100000-165535] []",
		"1000:100000:65536":               "[1000 100000-165535] []",
		"# all\n\n  alice:1:2  \nbob:5:1": "[alice 1-2 bob 5-5] []",
		"alice:100000\nbob:1:2:3\n:1:2":   "[] [1 2 3]",
		"alice:x:1\nalice:1:-1\na:1:0":    "[] [1 2]",
		"a:4294967290:65536":              "[a 4294967290-4294967294] []",
		"a:4294967296:1":                  "[] [1]",
	} {
		for _, c := range parseRanges(text) {
			if c.first < 0 || c.size <= 0 || c.end() > 1<<32-1 {
				t.Errorf("range %+v", c)
			}
		}
		if source := subIDSource(text); strings.ContainsAny(source, " \t\n") {
			t.Errorf("source %q", source)
		}
		claims, bad := parseClaims(text)
		var words []string
		for _, c := range claims {
			words = append(words, c.owner+" "+c.String())
		}
		if got := fmt.Sprintf("[%s] %v", strings.Join(words, " "), bad); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// FuzzParseClaims checks that no text makes a range that can't be one, and that what is printed is read the same.
func FuzzParseClaims(f *testing.F) {
	f.Add("alice:100000:65536\n# x\nbob:1\n")
	f.Add("0: alice 100000 65536\nsubid: sss files # x\n")
	f.Fuzz(func(t *testing.T, text string) {
		claims, bad := parseClaims(text)
		var again strings.Builder
		for _, c := range claims {
			if c.first < 0 || c.size <= 0 || c.end() > 1<<32-1 || c.owner == "" {
				t.Errorf("%+v", c)
			}
			fmt.Fprintf(&again, "%s:%d:%d\n", c.owner, c.first, c.size)
		}
		if len(claims)+len(bad) > strings.Count(text, "\n")+1 {
			t.Errorf("%d ranges and %d other lines of %q", len(claims), len(bad), text)
		}
		for _, c := range claims {
			if strings.HasPrefix(c.owner, "#") || strings.TrimSpace(c.owner) != c.owner {
				return // a line that would be read in another way at the beginning of its line
			}
		}
		if same, _ := parseClaims(again.String()); fmt.Sprint(same) != fmt.Sprint(claims) {
			t.Errorf("%v became %v", claims, same)
		}
	})
}

func TestParseRanges(t *testing.T) {
	got := parseRanges("0: alice 100000 65536\n1: alice 300000 10\nError fetching ranges\n")
	if fmt.Sprint(got) != "[100000-165535 300000-300009]" || got[0].owner != "alice" {
		t.Errorf("got %v", got)
	}
}

func TestSubIDSource(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "files",
		"passwd: files sss\n":                    "files",
		"subid: files\n":                         "files",
		"  subid:  sss files # who knows\n":      "sss",
		"# subid: sss\nsubid:\n":                 "files",
		"passwd: files\nsubid:\tsss\ngroup: x\n": "sss",
	} {
		if got := subIDSource(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"5.13.0": true, "5.12.19-300.fc34": false, "6.1.0-13-amd64": true, "4.18.0-425.el8": false, "10.0": true, "next": true,
	} {
		if got := atLeast(release, 5, 13); got != want {
			t.Errorf("%s: %v", release, got)
		}
	}
}
