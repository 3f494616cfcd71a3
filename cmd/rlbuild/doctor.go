package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootless"
)

// finding is one row of the doctor's report.
type finding struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	Cure  string `json:"cure,omitempty"`
}

func doctorCommand(std streams, f *flags) *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "doctor [--json]",
		Short: "Show what this machine can and can't do, and how to mend it",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			quiet := *f
			quiet.logLevel = "error" // the report says it all
			findings, err := examine(std, &quiet)
			if err := show(std, findings, asJSON); err != nil {
				return err
			}
			if err != nil {
				return exitStatus(failure.Status(err))
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return command
}

// examine looks at everything a script needs, as far as it gets. An error means that scripts can't run here.
func examine(std streams, f *flags) (findings []finding, err error) {
	namespace, err := rootless.Enter(rootless.Options{})
	if err != nil {
		return []finding{failed("namespaces", err)}, err
	}
	ids := finding{Name: "ID maps", OK: !namespace.SingleID, Found: maps(namespace), Cure: namespace.Cure}
	if namespace.Reason != "" {
		ids.Found += ": " + namespace.Reason
	}
	if namespace.Nested {
		ids.Found += ", inside another user namespace"
	}
	findings = append(findings, ids)
	w, err := f.openWorkshop(std, "/", namespace.SingleID, nil)
	if err != nil {
		return append(findings, failed("store", err)), err
	}
	defer func() { err = joined(err, w.close()) }()
	findings = append(findings,
		finding{Name: "store", OK: true, Found: w.store.Choice.Root + ", state in " + w.store.Choice.RunRoot},
		finding{Name: "driver", OK: w.store.Choice.Driver != "vfs", Found: w.store.Choice.Driver + ": " + w.store.Choice.Reason})
	isolation, err := w.engine.Isolation()
	if err != nil {
		return append(findings, failed("isolation", err)), err
	}
	runtime := finding{Name: "runtime", OK: isolation.Runtime != "", Found: isolation.Runtime}
	if isolation.Kind == "sandbox" {
		runtime.OK, runtime.Found = true, "none needed"
	} else if !runtime.OK && len(isolation.Passed) == 0 {
		runtime.OK, runtime.Found = true, "none is wanted"
	} else if !runtime.OK {
		runtime.Found, runtime.Cure = "none works here", "steps run in a chroot; install a current crun or runc for more isolation."
	}
	network := finding{Name: "network", OK: isolation.Network == "private", Found: isolation.Network}
	if isolation.Shared != "" {
		network.Found += ": " + isolation.Shared
		network.Cure = "steps share the host's network; a private one takes a current passt (pasta), or netavark for root."
	}
	kind := finding{Name: "isolation", OK: true, Found: isolation.Kind}
	if passed := strings.Join(isolation.Passed, "; "); passed != "" {
		kind.Found += ", since " + passed
	}
	return append(findings, kind, runtime, network), nil
}

func failed(name string, err error) finding {
	return finding{Name: name, Found: err.Error(), Cure: failure.HintOf(err)}
}

// maps shows how many IDs are mapped.
func maps(n *rootless.Namespace) string {
	count := func(ranges []rootless.IDMap) (ids int) {
		for _, r := range ranges {
			ids += r.Size
		}
		return ids
	}
	return fmt.Sprintf("%d user IDs, %d group IDs", count(n.UIDs), count(n.GIDs))
}

func show(std streams, findings []finding, asJSON bool) error {
	if asJSON {
		text, err := json.MarshalIndent(findings, "", "  ")
		if err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		_, err = fmt.Fprintln(std.out, string(text))
		return err
	}
	for _, row := range findings {
		mark := "ok"
		if !row.OK {
			mark = "--"
		}
		fmt.Fprintf(std.out, "%s  %-10s %s\n", mark, row.Name, row.Found)
		if row.Cure != "" {
			fmt.Fprintf(std.out, "    %-10s %s\n", "", row.Cure)
		}
	}
	return nil
}
