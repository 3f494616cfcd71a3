package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/rlbuild/rlbuild/builtins"
)

var update = flag.Bool("update", false, "write what is generated into the README instead of comparing it; `make docs` does")

const (
	readme      = "../../README.md"
	parityTable = "../../testdata/parity-table.txt"
)

// TestParityTable holds testdata/parity-table.txt to the buildah that is the peer: it has a line for each of its commands,
// and each flag of a command is an option of the builtin that the line names, or has a line of its own with a spelling that
// exists or a reason. The README's table is made of it, and that of the known differences of the parity cases.
func TestParityTable(t *testing.T) {
	peer := os.Getenv("RLBUILD_PEER")
	if peer == "" {
		t.Fatal("RLBUILD_PEER must name the buildah to compare with; `make test` builds it and sets this")
	}
	table := readParityTable(t)
	var rows strings.Builder
	rows.WriteString("| buildah | rlbuild | flags that are options of the same name | spelled differently | none, and why |\n|---|---|---|---|---|\n")
	for _, command := range peerCommands(t, peer) {
		row, ok := table[command.name]
		if !ok {
			t.Errorf("%s: no line for the command %q", parityTable, command.name)
			continue
		}
		delete(table, command.name)
		rows.WriteString(row.markdown(t, command))
	}
	for name := range table {
		t.Errorf("%s: buildah has no command %q", parityTable, name)
	}
	var differences strings.Builder
	differences.WriteString("| case | difference and reason |\n|---|---|\n")
	for _, c := range parityCases(t, "parity") {
		for _, d := range c.differs {
			fmt.Fprintf(&differences, "| %s | %s |\n", c.name, d.reason)
		}
	}
	generated(t, "buildah's commands and flags", rows.String())
	generated(t, "known differences", differences.String())
}

// parityRow says how a command of buildah's is spelled.
type parityRow struct {
	spelling string
	flags    map[string]string // those whose spelling isn't their name
}

// readParityTable reads the table: "COMMAND = SPELLING" and, below it, "  --FLAG | SPELLING" or "  --FLAG | none: REASON".
// The command "" stands for the flags that all commands take.
func readParityTable(t *testing.T) map[string]parityRow {
	t.Helper()
	data, err := os.ReadFile(parityTable)
	if err != nil {
		t.Fatal(err)
	}
	table, current := map[string]parityRow{}, ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if flag, spelling, ok := strings.Cut(strings.TrimSpace(line), " | "); ok && line[0] == ' ' {
			table[current].flags[strings.TrimPrefix(flag, "--")] = spelling
			continue
		}
		name, spelling, ok := strings.Cut(line, " = ")
		if !ok {
			t.Fatalf("%s: can't read %q", parityTable, line)
		}
		current = strings.TrimPrefix(name, "buildah ")
		if name == "buildah" {
			current = ""
		}
		if _, twice := table[current]; twice {
			t.Fatalf("%s: %q is there twice", parityTable, name)
		}
		table[current] = parityRow{spelling, map[string]string{}}
	}
	return table
}

// markdown returns the command's row, and reports flags that are missing, spellings that don't exist, and lines of flags
// that buildah hasn't got.
func (r parityRow) markdown(t *testing.T, c peerCommand) string {
	checkSpelling(t, c.name, r.spelling)
	options := optionsOf(r.spelling)
	var same, different, none []string
	for _, flag := range c.flags {
		spelling, listed := r.flags[flag]
		delete(r.flags, flag)
		own := strings.ReplaceAll(flag, "-", "_")
		if _, isCommand := strings.CutPrefix(r.spelling, "rlbuild"); isCommand {
			own = flag
		}
		reason, hasNone := strings.CutPrefix(spelling, "none: ")
		_, wholeHasNone := strings.CutPrefix(r.spelling, "none: ")
		switch {
		case listed && hasNone:
			none = append(none, fmt.Sprintf("`--%s`: %s", flag, reason))
		case listed:
			checkSpelling(t, c.name+" --"+flag, spelling)
			different = append(different, fmt.Sprintf("`--%s`: `%s`", flag, spelling))
		case slices.Contains(options, own):
			same = append(same, "`"+own+"`")
		case slices.Contains(options, own+"_"): // a word that Starlark reserves
			same = append(same, "`"+own+"_`")
		case !wholeHasNone:
			t.Errorf("%s: buildah %s --%s has no spelling", parityTable, c.name, flag)
		}
	}
	for flag := range r.flags {
		t.Errorf("%s: buildah %s has no flag --%s", parityTable, c.name, flag)
	}
	spelling := "`" + r.spelling + "`"
	if reason, ok := strings.CutPrefix(r.spelling, "none: "); ok {
		spelling = "none: " + reason
	}
	name := strings.TrimSpace("buildah " + c.name)
	cells := []string{"`" + name + "`", spelling, strings.Join(same, " "), strings.Join(different, "; "), strings.Join(none, "; ")}
	for i, cell := range cells {
		cells[i] = strings.ReplaceAll(cell, "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

var (
	calledBuiltin = regexp.MustCompile(`(\w+_?)\(((?:[^()]|\([^()]*\))*)\)`)
	namedOption   = regexp.MustCompile(`(?:^|[(, ])(\w+) ?=`)
)

// checkSpelling fails for builtins and options that don't exist, in "builtin(…, option = …)".
func checkSpelling(t *testing.T, what, spelling string) {
	for _, match := range calledBuiltin.FindAllStringSubmatch(spelling, -1) {
		options := builtins.Parameters(match[1])
		if options == nil {
			if options = builtins.Parameters("path." + match[1]); options == nil {
				t.Errorf("%s: %s: there is no builtin %s", parityTable, what, match[1])
				continue
			}
		}
		inner := calledBuiltin.ReplaceAllString(match[2], "")
		for _, option := range namedOption.FindAllStringSubmatch(inner, -1) {
			if !slices.Contains(options, option[1]) {
				t.Errorf("%s: %s: %s has no option %s", parityTable, what, match[1], option[1])
			}
		}
	}
}

// optionsOf returns the options of what a spelling begins with: a builtin, or a command of rlbuild's.
func optionsOf(spelling string) (names []string) {
	if words := strings.Fields(spelling); len(words) > 0 && words[0] == "rlbuild" {
		command, _, err := rootCommand(newStreams()).Find(words[1:])
		if err != nil {
			return nil
		}
		command.InitDefaultHelpFlag()
		add := func(f *pflag.Flag) { names = append(names, f.Name) }
		command.LocalFlags().VisitAll(add)
		command.InheritedFlags().VisitAll(add)
		return names
	}
	builtin, _, _ := strings.Cut(spelling, "(")
	return builtins.Parameters(builtin)
}

// peerCommand is one command of buildah's and its flags, without --help.
type peerCommand struct {
	name  string // "manifest add"; "" for buildah itself
	flags []string
}

var (
	listedFlag    = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([\w-]+)`)
	listedCommand = regexp.MustCompile(`(?m)^  ([a-z]+) {2,}`)
)

// peerCommands asks buildah what it has.
func peerCommands(t *testing.T, peer string) []peerCommand {
	t.Helper()
	var all []peerCommand
	var visit func(words []string)
	visit = func(words []string) {
		output, err := exec.Command(peer, append(slices.Clone(words), "--help")...).Output()
		if err != nil {
			t.Fatalf("buildah %v --help: %v", words, err)
		}
		before, flags, _ := bytes.Cut(output, []byte("\nFlags:\n"))
		own, _, _ := bytes.Cut(flags, []byte("\nGlobal Flags:"))
		c := peerCommand{name: strings.Join(words, " ")}
		for _, match := range listedFlag.FindAllSubmatch(own, -1) {
			if name := string(match[1]); name != "help" && name != "version" {
				c.flags = append(c.flags, name)
			}
		}
		all = append(all, c)
		_, commands, found := bytes.Cut(before, []byte("Commands:\n"))
		if !found {
			return
		}
		for _, match := range listedCommand.FindAllSubmatch(commands, -1) {
			if name := string(match[1]); name != "help" && name != "completion" {
				visit(append(slices.Clone(words), name))
			}
		}
	}
	visit(nil)
	return all
}

// generated holds the part of the README between a title's two marks to content.
func generated(t *testing.T, title, content string) {
	t.Helper()
	page, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	start, end := fmt.Sprintf("<!-- %s: made by `make docs` -->\n", title), fmt.Sprintf("<!-- end of %s -->\n", title)
	before, rest, found := strings.Cut(string(page), start)
	had, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s lacks the marks %q and %q", readme, start, end)
	}
	if had == content {
		return
	}
	if !*update {
		t.Errorf("%s: the table of %s isn't up to date; run `make docs`", readme, title)
		return
	}
	if err := os.WriteFile(readme, []byte(before+start+content+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
