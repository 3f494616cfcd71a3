package rootless

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.podman.io/storage/pkg/idtools"

	"github.com/rlbuild/rlbuild/engine/trouble"
)

// The files that set IDs aside for users: subuid(5), subgid(5).
const (
	subUIDFile = "/etc/subuid"
	subGIDFile = "/etc/subgid"
)

// claim is a range of IDs that is set aside for a user.
type claim struct {
	owner       string // login name, or user ID as a number
	first, size int
}

func (c claim) end() int { return c.first + c.size }

func (c claim) String() string { return fmt.Sprintf("%d-%d", c.first, c.end()-1) }

// parseClaims reads the text of such a file: a line is NAME:FIRST:COUNT. The numbers of lines that are something else are
// returned apart: newuidmap passes over them.
func parseClaims(text string) (claims []claim, bad []int) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, ":")
		if len(fields) != 3 || fields[0] == "" {
			bad = append(bad, number)
			continue
		}
		first, err1 := strconv.ParseUint(fields[1], 10, 32)
		size, err2 := strconv.ParseUint(fields[2], 10, 32)
		if err1 != nil || err2 != nil {
			bad = append(bad, number)
			continue
		}
		if size > 0 {
			claims = append(claims, claim{fields[0], int(first), int(min(size, math.MaxUint32-first))})
		}
	}
	return claims, bad
}

// parseRanges reads what getsubids(1) prints: "0: alice 100000 65536".
func parseRanges(text string) (claims []claim) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 4 {
			// The fields are those of a line of the files.
			found, _ := parseClaims(strings.Join(f[1:], ":"))
			claims = append(claims, found...)
		}
	}
	return claims
}

// subIDSource returns where newuidmap looks ranges up: "files", or what the line "subid:" of nsswitch.conf(5) says instead.
func subIDSource(nsswitch string) string {
	for line := range strings.Lines(nsswitch) {
		line, _, _ = strings.Cut(line, "#")
		if rest, found := strings.CutPrefix(strings.TrimSpace(line), "subid:"); found && strings.TrimSpace(rest) != "" {
			return strings.Fields(rest)[0] // of several, libsubid takes the first
		}
	}
	return "files"
}

// setAside is what one of the files, or another source in its place, says.
type setAside struct {
	source string // the file's path, or `the source "sss" of /etc/nsswitch.conf`
	claims []claim
	bad    []int
	fault  string // why there is nothing, as the rest of a sentence that begins with source
	unread string // what to do if it couldn't be looked at at all
}

// none returns why the caller has nothing there, nil if there is something.
func (me caller) none(s setAside) (*trouble.Trouble, trouble.Facts) {
	detail := s.fault
	if detail == "" && len(me.mine(s)) == 0 {
		detail = "has no range for " + me.name
		if len(s.bad) > 0 {
			detail += ", and " + lineNumbers(s.bad) + " that can't be read"
		}
	}
	switch {
	case detail == "":
		return nil, nil
	case s.unread != "":
		return trouble.SubIDsUnread, trouble.Facts{"file": s.source, "detail": detail, "command": s.unread}
	}
	return trouble.NoSubIDs, trouble.Facts{"file": s.source, "detail": detail, "command": me.cureOf(s)}
}

// owns reports whether a range is the caller's.
func (me caller) owns(c claim) bool { return c.owner == me.name || c.owner == strconv.Itoa(me.uid) }

// mine returns the caller's own ranges, sorted by their first ID.
func (me caller) mine(s setAside) []claim {
	mine := slices.DeleteFunc(slices.Clone(s.claims), func(c claim) bool { return !me.owns(c) })
	slices.SortStableFunc(mine, func(a, b claim) int { return a.first - b.first })
	return mine
}

// readSubIDs returns what is set aside: for everybody from the files, for the caller alone from another source.
func (me caller) readSubIDs() (uids, gids setAside) {
	nsswitch, _ := os.ReadFile("/etc/nsswitch.conf") // without it the files count
	source := subIDSource(string(nsswitch))
	if source == "files" {
		return readSubIDFile(subUIDFile), readSubIDFile(subGIDFile)
	}
	return me.askSource(source), me.askSource(source, "-g")
}

func readSubIDFile(path string) setAside {
	text, err := os.ReadFile(path)
	s := setAside{source: path}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.fault = "doesn't exist"
	case err != nil:
		s.fault = "can't be read: " + errors.Unwrap(err).Error()
		s.unread = fmt.Sprintf("Run \"chmod 644 %s\" as root.", path)
	}
	s.claims, s.bad = parseClaims(string(text))
	return s
}

// askSource has getsubids look up the caller's ranges.
func (me caller) askSource(source string, flags ...string) setAside {
	s := setAside{source: fmt.Sprintf("the source %q of /etc/nsswitch.conf", source)}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "getsubids", append(flags, me.name)...)
	cmd.WaitDelay = time.Second
	text, err := cmd.Output()
	s.claims = parseRanges(string(text))
	switch exit := (*exec.ExitError)(nil); {
	case errors.Is(err, exec.ErrNotFound):
		s.fault = "can't be asked: getsubids isn't installed"
		s.unread = "Install it: Debian's package uidmap, Fedora's shadow-utils-subid."
	case ctx.Err() != nil:
		s.fault, s.unread = "gives no answer", fmt.Sprintf("See that \"getsubids %s\" answers.", me.name)
	case errors.As(err, &exit) && strings.TrimSpace(string(exit.Stderr)) != "":
		s.fault = "gives nothing: " + strings.Join(strings.Fields(string(exit.Stderr)), " ")
		s.unread = fmt.Sprintf("See that \"getsubids %s\" answers.", me.name)
	case len(s.claims) == 0:
		s.fault = "has no range for " + me.name
	}
	return s
}

// subIDs returns the ranges set aside for the caller, to be mapped from 1 on, or why there are none.
func (me caller) subIDs() (uids, gids []idRange, why *trouble.Trouble, facts trouble.Facts) {
	found := [2]setAside{}
	found[0], found[1] = me.readSubIDs()
	for _, s := range found {
		if why, facts := me.none(s); why != nil {
			return nil, nil, why, facts
		}
	}
	uids = usable(ranges(me.mine(found[0])), me.uid, me.uids)
	gids = usable(ranges(me.mine(found[1])), me.gid, me.gids)
	if len(uids) == 0 || len(gids) == 0 {
		return nil, nil, trouble.SubIDsElsewhere, trouble.Facts{"user": me.name, "limit": fmt.Sprint(limit(me.uids))}
	}
	return uids, gids, nil, nil
}

// lineNumbers names lines: "line 3", "lines 3 and 5".
func lineNumbers(numbers []int) string {
	if len(numbers) == 1 {
		return fmt.Sprint("line ", numbers[0])
	}
	var words []string
	for _, n := range numbers {
		words = append(words, strconv.Itoa(n))
	}
	last := len(words) - 1
	return "lines " + strings.Join(words[:last], ", ") + " and " + words[last]
}

// distinct leaves out ranges that an earlier one holds whole, and returns how many IDs there are.
func distinct(sorted []claim) (kept []claim, total int) {
	last := 0
	for _, c := range sorted {
		if c.end() > last {
			kept, total = append(kept, c), total+c.end()-max(c.first, last)
			last = c.end()
		}
	}
	return kept, total
}

// ranges returns claims as the type that maps are made of.
func ranges(claims []claim) []idtools.IDMap {
	var all []idtools.IDMap
	for _, c := range claims {
		all = append(all, idtools.IDMap{HostID: c.first, Size: c.size})
	}
	return all
}

// limit returns the first ID above all that are mapped.
func limit(maps []idRange) (end int) {
	for _, m := range maps {
		end = max(end, int(m.ContainerID)+int(m.Size))
	}
	return end
}

// cureOf returns what gives the caller enough sub-IDs from s.
func (me caller) cureOf(s setAside) string {
	if s.source != subUIDFile && s.source != subGIDFile {
		return fmt.Sprintf("Ask those who keep %s, or let that file say \"subid: files\".", s.source)
	}
	return me.addRanges()
}

// addRanges returns the command that gives the caller sub-IDs, from the first number nobody has, of the kinds that are
// missing.
func (me caller) addRanges() string {
	const size = 65536 // what useradd gives, and what images are made for
	free, flags := 100000, []string{}
	for _, file := range []struct{ path, flag string }{{subUIDFile, "--add-subuids"}, {subGIDFile, "--add-subgids"}} {
		s := readSubIDFile(file.path)
		for _, c := range s.claims {
			if c.end() > free && c.end() < math.MaxInt32-size {
				free = c.end()
			}
		}
		if _, own := distinct(me.mine(s)); own < size {
			flags = append(flags, file.flag)
		}
	}
	if len(flags) == 0 {
		return "Correct the lines of the user in " + subUIDFile + " and " + subGIDFile + "."
	}
	words := []string{"usermod"}
	for _, flag := range flags {
		words = append(words, fmt.Sprintf("%s %d-%d", flag, free, free+size-1))
	}
	return fmt.Sprintf("Run \"%s %s\" as root.", strings.Join(words, " "), me.name)
}
