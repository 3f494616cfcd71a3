package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rlbuild/rlbuild/engine/checkup"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootless"
	"github.com/rlbuild/rlbuild/engine/script"
	"github.com/rlbuild/rlbuild/engine/store"
)

// diagnosis is the doctor's report.
type diagnosis struct {
	OK       bool              `json:"ok"`               // the needs are met
	Script   string            `json:"script,omitempty"` // "" for any ordinary one
	Needs    []checkup.Need    `json:"needs"`            // besides what every script needs
	Findings []checkup.Finding `json:"findings"`
}

// patience bounds what waits for others: another process may hold a lock of the store.
const patience = 60 * time.Second

func doctorCommand(std streams, f *flags) *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "doctor [--json] [SCRIPT]",
		Short: "Show what this machine can and can't do, and how to mend it",
		Long: `doctor looks at everything that builds need of a machine and shows a verdict, what was found, and the cure:

  ok       as it should be
  limited  scripts run, but something is slower, less isolated, or not to be had
  failed   what needs this can't run; in brackets if the script doesn't
  unknown  it couldn't be measured, or not by this user

With SCRIPT, it counts what this script and its libraries need, as far as their text tells: steps, an OCI runtime, limits
that take a cgroup, a private network, registries, commands of the host. Registries are those of from_, pull, push and commit:
what build, and copy, bind and manifest with other images, fetch isn't looked at. A command that the script may do without (check = False, or
an if around the call) is limited when it is missing; functions count as called. Nothing of the script is run. Without, what any ordinary script needs.

--json prints an object: "ok", "script", "needs" (a list of words), and "findings", each with "area", "name", "verdict", "found"
and, if there is one, "cure" and the "need" without which it doesn't matter.

The exit status is 0 when the needs are met, and 3 otherwise.`,
		Example: `  rlbuild doctor
  rlbuild doctor build.star
  rlbuild doctor --json | jq '.findings[] | select(.verdict != "ok")'`,
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return failure.New("doctor", "", "takes one script, got %d", len(args)).WithKind(failure.Usage)
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"star"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(_ *cobra.Command, args []string) error {
			d, wanted := diagnosis{}, usualNeeds()
			if len(args) == 1 {
				program, err := readScript(std, f, args[0])
				if err != nil {
					return err
				}
				d.Script, wanted = args[0], needsOf(program)
			}
			if f.runtime != "" || f.isolation == "oci" || f.isolation == "rootless" {
				wanted.add(checkup.Runtime)
			}
			d.examine(std, f, wanted)
			write := d.table
			if asJSON {
				write = d.json
			}
			if err := write(std.out, wanted); err != nil {
				return err
			}
			if !d.OK {
				return exitStatus(3)
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return command
}

// readScript parses a script without running it.
func readScript(std streams, f *flags, path string) (*script.Program, error) {
	if path == "-" {
		return nil, failure.New("doctor", "-", "a script is looked at in its file").WithKind(failure.Usage)
	}
	j := &job{std: std, flags: f, path: path}
	if err := j.locate(); err != nil {
		return nil, err
	}
	return j.parse()
}

// examine looks at everything, as far as it gets.
func (d *diagnosis) examine(std streams, f *flags, wanted needs) {
	quiet := *f
	quiet.logLevel, quiet.inspect = "error", true // the report says it all
	namespace, findings, err := rootless.Checkup(rootless.Options{})
	d.Findings = findings
	if err == nil {
		d.Findings = append(d.Findings, withinReason("store", func() []checkup.Finding { return quiet.checkWorkshop(std, namespace.SingleID) })...)
	}
	path := os.Getenv("PATH")
	os.Setenv("PATH", withAdministration(path)) // as it is for host commands
	d.Findings = append(d.Findings, wanted.findCommands()...)
	os.Setenv("PATH", path)
	d.Needs, d.OK = append([]checkup.Need{}, wanted.kinds...), true
	for _, finding := range d.Findings {
		if finding.Verdict == checkup.Failed && wanted.has(finding.Need) {
			d.OK = false
		}
	}
}

// withinReason returns what check finds, or that it takes too long. What hangs ends with the process.
func withinReason(area string, check func() []checkup.Finding) []checkup.Finding {
	done := make(chan []checkup.Finding, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- []checkup.Finding{{Area: area, Name: "check", Verdict: checkup.Failed, Found: fmt.Sprintf("internal error: %v", v),
					Cure: "This is a bug in rlbuild; please report it."}}
			}
		}()
		done <- check()
	}()
	select {
	case findings := <-done:
		return findings
	case <-time.After(patience):
		return []checkup.Finding{{Area: area, Name: "time", Verdict: checkup.Failed, Found: fmt.Sprintf("no answer within %s", patience),
			Cure: "Another process may hold the store, or its file system may not answer: see what runs, and try again."}}
	}
}

// checkWorkshop opens the store and the engine and has them looked at.
func (f *flags) checkWorkshop(std streams, singleID bool) (findings []checkup.Finding) {
	inspection := store.Inspection{TempDir: tempParent()}
	w, err := f.openWorkshop(context.Background(), std, "/", singleID, nil)
	if err != nil {
		inspection.Failure = err
		return store.Checkup(f.storeOptions(std, singleID), inspection)
	}
	defer func() {
		if err := w.close(); err != nil {
			findings = append(findings, broken("store", "closing", checkup.Always, err))
		}
	}()
	inspection.Opened = w.store
	findings = store.Checkup(f.storeOptions(std, singleID), inspection)
	return append(findings, w.engine.Checkup()...)
}

// broken is a finding of what couldn't be opened or tried.
func broken(area, name string, need checkup.Need, err error) checkup.Finding {
	return checkup.Finding{Area: area, Name: name, Verdict: checkup.Failed, Found: failure.Redact(err.Error()), Cure: failure.HintOf(err), Need: need}
}

func (d *diagnosis) json(out io.Writer, _ needs) error {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	_, err = fmt.Fprintln(plain{out}, string(text))
	return err
}

// widest is the longest name that others are lined up with.
const widest = 32

// table prints the report for people: findings under their areas, and the cure on a line of its own.
func (d *diagnosis) table(out io.Writer, wanted needs) error {
	var b strings.Builder
	var areas []string
	byArea, width := map[string][]checkup.Finding{}, 0
	for _, f := range d.Findings {
		if byArea[f.Area] == nil {
			areas = append(areas, f.Area)
		}
		byArea[f.Area] = append(byArea[f.Area], f)
		if len(f.Name) <= widest {
			width = max(width, len(f.Name))
		}
	}
	for _, area := range areas {
		fmt.Fprintln(&b, area)
		for _, f := range byArea[area] {
			mark := string(f.Verdict)
			if f.Verdict == checkup.Failed && !wanted.has(f.Need) {
				mark = "(" + mark + ")"
			}
			fmt.Fprintf(&b, "  %-8s  %-*s  %s\n", mark, width, f.Name, oneLine(f.Found))
			if f.Cure != "" {
				fmt.Fprintf(&b, "  %-8s  %-*s  -> %s\n", "", width, "", oneLine(f.Cure))
			}
		}
	}
	fmt.Fprintf(&b, "\n%s\n", d.summary(wanted))
	_, err := io.WriteString(plain{out}, b.String())
	return err
}

// summary says in a sentence whether the script can run here.
func (d *diagnosis) summary(wanted needs) string {
	what := "Scripts"
	if d.Script != "" {
		what = filepath.Base(d.Script)
		if len(d.Needs) > 0 {
			var words []string
			for _, need := range d.Needs {
				words = append(words, string(need))
			}
			what += " (needs " + strings.Join(words, ", ") + ")"
		}
	}
	if d.OK {
		return what + " can run here."
	}
	var why []string
	for _, f := range d.Findings {
		if f.Verdict == checkup.Failed && wanted.has(f.Need) {
			why = append(why, f.Name)
		}
	}
	return what + " can't run here: " + strings.Join(why, ", ") + "."
}

// oneLine keeps a finding on its line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
