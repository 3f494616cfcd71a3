package trouble

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/rlbuild/rlbuild/engine/failure"
)

func TestExplain(t *testing.T) {
	known := &Trouble{Why: "{path} is {what}", Cure: "Move {path}, or {else}.", Kind: failure.Machine}
	err := known.Explain("open", "x", fs.ErrNotExist, Facts{"path": "/a/{what}", "what": "gone"})
	if got, want := err.Error(), "open x: /a/{what} is gone"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err.Hint != "Move /a/{what}, or {else}." || failure.Status(err) != 3 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("hint %q, status %d, %v", err.Hint, failure.Status(err), errors.Is(err, fs.ErrNotExist))
	}
	if known.Reason(nil, nil).Error() != known.Why {
		t.Error("a reason without a cause")
	}
}

// TestTexts holds the table to the style of error messages, and to what a row of the README can hold.
func TestTexts(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, group := range Table() {
		for _, known := range group.Troubles {
			if !name.MatchString(known.Name) {
				t.Errorf("%q is no name", known.Name)
			}
			for what, text := range map[string]string{"see": known.See, "why": known.Why, "cure": known.Cure} {
				if text == "" || strings.ContainsAny(text, "\n`") || text != strings.TrimSpace(text) {
					t.Errorf("%s: %s is %q", known.Name, what, text)
				}
			}
			if strings.HasSuffix(known.Why, ".") {
				t.Errorf("%s: why ends in a full stop: %q", known.Name, known.Why)
			}
			if first := []rune(known.Cure)[0]; !unicode.IsUpper(first) && first != '{' {
				t.Errorf("%s: the cure is no sentence: %q", known.Name, known.Cure)
			}
		}
	}
}
