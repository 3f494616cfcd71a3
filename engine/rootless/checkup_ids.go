package rootless

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/rlbuild/rlbuild/engine/checkup"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// usual is how many IDs images are made for.
const usual = 65536

// ids tells what IDs there are, and by whose grace.
func (j *journey) ids(ns *Namespace) []checkup.Finding {
	var all []checkup.Finding
	if j.me.uid != 0 { // root maps IDs by itself
		all = append(all, j.helpers()...)
		uids, gids := j.me.readSubIDs()
		all = append(all, j.me.setAside("user", uids, accounts("/etc/passwd"))...)
		all = append(all, j.me.setAside("group", gids, accounts("/etc/group"))...)
	}
	return append(all, j.obtained(ns))
}

// helpers tells whether newuidmap and newgidmap can do their work.
func (j *journey) helpers() []checkup.Finding {
	var all []checkup.Finding
	for _, name := range []string{"newuidmap", "newgidmap"} {
		h, why, facts := findHelper(name)
		owner, known := j.seen.helperOwners[h.path]
		switch {
		case why != nil:
			all = append(all, amiss(areaIDs, name, checkup.Limited, why, facts))
		case known && owner != 0 && h.how == "setuid":
			f := amiss(areaIDs, name, checkup.Limited, trouble.HelperPowerless, facts)
			f.Found += fmt.Sprintf(": it is setuid and belongs to %s", userName(owner))
			all = append(all, f)
		default:
			all = append(all, found(areaIDs, name, "%s (%s)", h.path, h.how))
		}
	}
	return all
}

// account is a user or a group of the machine.
type account struct {
	name string
	id   int
}

// accounts reads passwd(5) or group(5): in both the third field is the number.
func accounts(path string) []account {
	text, _ := os.ReadFile(path) // a machine without has no accounts
	var all []account
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); len(f) > 2 {
			if id, err := strconv.Atoi(f[2]); err == nil {
				all = append(all, account{f[0], id})
			}
		}
	}
	return all
}

// setAside tells about the sub-IDs of one kind, "user" or "group".
func (me caller) setAside(kind string, s setAside, real []account) []checkup.Finding {
	name := "sub-IDs, " + kind
	facts := func(more ...string) trouble.Facts {
		f := trouble.Facts{"user": me.name, "file": s.source, "command": me.cureOf(s)}
		for i := 0; i < len(more); i += 2 {
			f[more[i]] = more[i+1]
		}
		return f
	}
	var all []checkup.Finding
	mine, total := distinct(me.mine(s))
	var words []string
	for _, c := range mine {
		words = append(words, c.String())
	}
	why, details := me.none(s)
	switch {
	case why != nil:
		all = append(all, amiss(areaIDs, name, checkup.Limited, why, details))
	case total < usual:
		all = append(all, amiss(areaIDs, name, checkup.Limited, trouble.FewSubIDs, facts("count", strconv.Itoa(total))))
	default:
		all = append(all, found(areaIDs, name, "%d for %s: %s (%s)", total, me.name, strings.Join(words, ", "), s.source))
	}
	if len(s.bad) > 0 {
		all = append(all, amiss(areaIDs, name+", lines", checkup.Limited, trouble.SubIDLine, facts("line", lineNumbers(s.bad))))
	}
	if c, whose := me.shared(mine, s.claims); len(whose) > 0 {
		all = append(all, amiss(areaIDs, name+", overlaps", checkup.Limited, trouble.SubIDsShared,
			facts("range", c.String(), "detail", strings.Join(whose, ", "))))
	}
	if c, whose := me.inhabited(mine, real); len(whose) > 0 {
		all = append(all, amiss(areaIDs, name+", accounts", checkup.Limited, trouble.SubIDsOfAccount,
			facts("range", c.String(), "detail", strings.Join(whose, ", "))))
	}
	return all
}

// most is how many names a finding lists.
const most = 5

// shared returns the first of the caller's ranges that others have IDs of, and those others.
func (me caller) shared(mine, claims []claim) (c claim, whose []string) {
	for _, c := range mine {
		for _, other := range claims {
			if !me.owns(other) && other.first < c.end() && c.first < other.end() {
				whose = append(whose, fmt.Sprintf("%s of %s", other, other.owner))
			}
		}
		if len(whose) > 0 {
			return c, few(whose)
		}
	}
	return claim{}, nil
}

// inhabited returns the first of the caller's ranges that accounts of this machine have IDs in, and those accounts. The
// caller's own ID isn't mapped twice.
func (me caller) inhabited(mine []claim, real []account) (c claim, whose []string) {
	for _, c := range mine {
		for _, a := range real {
			if c.first <= a.id && a.id < c.end() && a.name != me.name {
				whose = append(whose, fmt.Sprintf("%s (%d)", a.name, a.id))
			}
		}
		if len(whose) > 0 {
			return c, few(whose)
		}
	}
	return claim{}, nil
}

// few shortens a list.
func few(words []string) []string {
	if len(words) <= most {
		return words
	}
	return append(words[:most:most], fmt.Sprintf("and %d more", len(words)-most))
}

// obtained tells which IDs are mapped, as the kernel has it.
func (j *journey) obtained(ns *Namespace) checkup.Finding {
	const name = "map"
	if ns == nil {
		return checkup.Finding{Area: areaIDs, Name: name, Verdict: checkup.Unknown, Found: "there is no namespace to map IDs in"}
	}
	uids, gids := count(ns.UIDs), count(ns.GIDs)
	text := fmt.Sprintf("%s (%s), %s (%s)", many(uids, "user ID"), spelled(ns.UIDs), many(gids, "group ID"), spelled(ns.GIDs))
	switch {
	case ns.SingleID:
		return checkup.Finding{Area: areaIDs, Name: name, Verdict: checkup.Limited, Found: text + ", so every file has one owner: " + ns.Reason, Cure: ns.Cure}
	case min(uids, gids) < usual:
		return checkup.Finding{Area: areaIDs, Name: name, Verdict: checkup.Limited, Found: text + "; images expect 65536"}
	}
	return found(areaIDs, name, "%s", text)
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// spelled shows a map from the inside: "0 is 1000, 1-65536 are 100000-165535".
func spelled(maps []IDMap) string {
	var words []string
	for _, m := range maps {
		if m.Size == 1 {
			words = append(words, fmt.Sprintf("%d is %d", m.ContainerID, m.HostID))
			continue
		}
		words = append(words, fmt.Sprintf("%d-%d are %d-%d", m.ContainerID, m.ContainerID+m.Size-1, m.HostID, m.HostID+m.Size-1))
	}
	return strings.Join(few(words), ", ")
}

// userName returns the login name of a user, or the number.
func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(id)
}
