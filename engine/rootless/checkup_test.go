package rootless

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/checkup"
)

func TestLimitsFinding(t *testing.T) {
	for limits, want := range map[string]checkup.Finding{
		"user=5 mnt=5 pid=5 net=5 ipc=5 uts=5 cgroup=5": {Verdict: checkup.OK, Found: "user 5, mnt 5, pid 5, net 5, ipc 5, uts 5, cgroup 5 (user.max_…_namespaces)"},
		"user=5 pid=0":       {Verdict: checkup.Limited, Cure: "user.max_pid_namespaces=15000"},
		"user=5 net=0":       {Verdict: checkup.Limited, Cure: "user.max_net_namespaces=15000"},
		"user=5 net=0 uts=0": {Verdict: checkup.Limited, Cure: "user.max_net_namespaces=15000 user.max_uts_namespaces=15000"},
		"":                   {Verdict: checkup.Unknown, Found: "/proc/sys/user can't be read"},
	} {
		j := &journey{seen: sights{limits: map[string]string{}}}
		for _, setting := range strings.Fields(limits) {
			kind, value, _ := strings.Cut(setting, "=")
			j.seen.limits["user.max_"+kind+"_namespaces"] = value
		}
		got := j.limits()
		if got.Verdict != want.Verdict || got.Need != want.Need || !strings.Contains(got.Found, want.Found) || !strings.Contains(got.Cure, want.Cure) {
			t.Errorf("%q: got %+v", limits, got)
		}
	}
}

func TestSetAsideFindings(t *testing.T) {
	me := caller{uid: 1000, name: "alice"}
	accounts := []account{{"root", 0}, {"alice", 100001}, {"bob", 100002}, {"carol", 165536}}
	for text, want := range map[string]string{ // findings that aren't ok, by name and a part of what was found
		"alice:200000:65536":                      "",
		"alice:200000:65536\n1000:300000:65536":   "",
		"alice:200000:65536\nbob:265536:65536":    "",
		"alice:200000:65535":                      "sub-IDs, user: alice has 65535 IDs",
		"bob:200000:65536":                        "sub-IDs, user: no sub-IDs are set aside: /etc/subuid has no range for alice",
		"alice:200000:65536\nbob:265535:1":        "sub-IDs, user, overlaps: overlaps 265535-265535 of bob:",
		"alice:100000:65536":                      "sub-IDs, user, accounts: holds the ID of bob (100002):",
		"nonsense\nalice:200000:65536":            "sub-IDs, user, lines: line 1 of /etc/subuid can't be read",
		"alice:200000:40000\nalice:220000:45536":  "",
		"alice:200000:40000\nalice:200000:40000":  "sub-IDs, user: alice has 40000 IDs",
		"alice:200000:65536\na:1:900000\nb:9:1\n": "sub-IDs, user, overlaps: overlaps 1-900000 of a:",
	} {
		claims, bad := parseClaims(text)
		var got []checkup.Finding
		for _, f := range me.setAside("user", setAside{source: subUIDFile, claims: claims, bad: bad}, accounts) {
			if f.Verdict != checkup.OK {
				got = append(got, f)
			}
		}
		name, found, _ := strings.Cut(want, ": ")
		switch {
		case want == "" && len(got) == 0:
		case len(got) == 1 && got[0].Name == name && strings.Contains(got[0].Found, found) && got[0].Cure != "":
		default:
			t.Errorf("%q: got %+v, want %q", text, got, want)
		}
	}
}

func TestSpelledMaps(t *testing.T) {
	many := []IDMap{{0, 1000, 1}, {1, 100000, 65536}}
	if got := spelled(many); got != "0 is 1000, 1-65536 are 100000-165535" {
		t.Error(got)
	}
	for i := range 7 {
		many = append(many, IDMap{70000 + i, 80000 + i, 1})
	}
	if got := spelled(many); !strings.HasSuffix(got, "70002 is 80002, and 4 more") {
		t.Error(got)
	}
}

// TestFindingsAreWhole holds the findings to their form: a name once in its area, something found, and no fact left open, however
// little is known.
func TestFindingsAreWhole(t *testing.T) {
	j := &journey{survey: true, me: caller{uid: 1000, name: "alice"}, plan: plan{user: true}, seen: sights{limits: map[string]string{}}}
	seen := map[string]bool{}
	all := append(append(j.namespaces(nil, fmt.Errorf("no")), j.ids(nil)...), append(j.kernel(), j.environment(nil, nil)...)...)
	for _, f := range all {
		if key := f.Area + "/" + f.Name; seen[key] || f.Area == "" || f.Name == "" || f.Found == "" || strings.Contains(f.Found+f.Cure, "{") {
			t.Errorf("%+v", f)
		} else {
			seen[key] = true
		}
	}
	for _, name := range []string{"namespaces/user namespaces", "namespaces/seccomp", "IDs/newuidmap", "IDs/map", "kernel/version", "environment/HOME"} {
		if !seen[name] {
			t.Errorf("%s isn't among the findings", name)
		}
	}
}
