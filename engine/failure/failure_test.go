package failure

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestStatus(t *testing.T) {
	usage := New("reading", "x.star", "no such file").WithKind(Usage)
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("plain"), 1},
		{New("run", "false", "exited with status 7"), 1},
		{usage, 2},
		{New("loading", "x.star", "%w", usage), 2},
		{fmt.Errorf("wrapped: %w", New("", "", "no namespaces").WithKind(Machine)), 3},
		{&Error{Err: errors.New("interrupted"), Kind: Interrupted, Signal: 15}, 143},
	} {
		if got := Status(tc.err); got != tc.want {
			t.Errorf("Status(%v) = %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestMessageAndHint(t *testing.T) {
	inner := New("pull", "debian", "manifest unknown").WithHint("check the tag.")
	outer := New("from_", "debian", "%w", inner)
	if got, want := outer.Error(), "from_ debian: pull debian: manifest unknown"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if got := HintOf(outer); got != "check the tag." {
		t.Errorf("HintOf = %q", got)
	}
	inner.Output = []string{"last line"}
	if got := OutputOf(fmt.Errorf("x: %w", outer)); len(got) != 1 || got[0] != "last line" {
		t.Errorf("OutputOf = %q", got)
	}
}

func TestCredentialsNeverShow(t *testing.T) {
	for _, text := range []string{
		"Get https://joe:hunter2@registry.example/v2/: EOF",
		"docker://hunter2@h/x",
		"Authorization: Basic aHVudGVyMjpodW50ZXIy",
		"authorization: Bearer hunter2hunter2",
		"sent Bearer hunter2hunter2.x-y_z",
		"GET https://h/token?account=joe&access_token=hunter2&x=1",
		"mysql --password=hunter2",
	} {
		err := &Error{Op: text, Err: errors.New(text), Hint: text}
		for _, shown := range []string{err.Error(), HintOf(err)} {
			if strings.Contains(shown, "hunter2") || strings.Contains(shown, "aHVudGVy") {
				t.Errorf("%q shows as %q", text, shown)
			}
		}
	}
}
