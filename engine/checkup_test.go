package engine

import (
	"testing"

	"github.com/rlbuild/rlbuild/engine/checkup"
)

func TestOwnCgroup(t *testing.T) {
	for text, want := range map[string]string{
		"0::/user.slice/user-1000.slice/session-2.scope\n": "/user.slice/user-1000.slice/session-2.scope",
		"9:name=systemd:/\n4:memory:/a/b\n0::/\n":          "/",
		"9:name=systemd:/x\n":                              "/",
	} {
		if got := ownCgroup(text); got != want {
			t.Errorf("ownCgroup(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestParseJSONSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  \"a\": [ }\n}": "line 2, column 10: invalid character '}' looking for beginning of value",
		"{\"a\": ":           "line 1, column 6: unexpected end of JSON input",
		"":                   "line 1, column 1: unexpected end of JSON input",
	} {
		err := parseJSON([]byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("parseJSON(%q) = %v, want %s", text, err, want)
		}
	}
	if err := parseJSON([]byte(`{"a": 1}`)); err != nil {
		t.Error(err)
	}
}

// TestIsolationFinding holds that steps are said to fail where a chroot is all that is left and its trial failed as well.
func TestIsolationFinding(t *testing.T) {
	for kind, wants := range map[string]map[checkup.Verdict]checkup.Verdict{
		"chroot":  {checkup.OK: checkup.Limited, checkup.Limited: checkup.Failed, checkup.Unknown: checkup.Limited},
		"sandbox": {checkup.OK: checkup.OK, checkup.Limited: checkup.OK},
	} {
		for trial, want := range wants {
			b := &Builder{isolation: func() (*Isolation, error) { return &Isolation{Kind: kind}, nil }}
			f := b.isolationFinding(checkup.Finding{Verdict: trial, Found: "a step in one failed"})
			if f.Verdict != want || f.Need != checkup.Steps {
				t.Errorf("%s, %s in a chroot: got %+v, want %s", kind, trial, f, want)
			}
		}
	}
}
