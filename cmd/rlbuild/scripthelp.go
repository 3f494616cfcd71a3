package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/rlbuild/rlbuild/engine/script"
)

// argument is a script's argument, as its text declares it.
type argument struct {
	pos            syntax.Position
	name           string // "" for one that isn't a literal
	fallback, help string
	required       bool
}

// arguments lists the script's arguments in the order of its text, each once.
func arguments(program *script.Program) []argument {
	var all []argument
	seen := map[string]bool{}
	for _, call := range program.Calls("arg") {
		name := call.Kwargs["name"]
		if len(call.Args) > 0 {
			name = call.Args[0]
		}
		a := argument{pos: call.Pos, required: true}
		a.name, _ = starlark.AsString(name)
		if text, ok := call.Text("default"); ok {
			a.fallback, a.required = shortened(text), false
		}
		a.help, _ = starlark.AsString(call.Kwargs["help"])
		if a.name == "" || !seen[a.name] {
			all = append(all, a)
		}
		seen[a.name] = true
	}
	return all
}

// maxFallback is how much of a default's text help shows, in bytes: there is no end to expressions.
const maxFallback = 500

func shortened(text string) string {
	if len(text) <= maxFallback {
		return text
	}
	return strings.ToValidUTF8(strings.Clone(text[:maxFallback]), "") + "…"
}

// showHelp prints what the script says of itself.
func (j *job) showHelp(program *script.Program) error {
	var b strings.Builder
	if doc := strings.TrimSpace(program.Doc()); doc != "" {
		fmt.Fprintf(&b, "%s\n\n", doc)
	}
	all := arguments(program)
	usage := "Usage: rlbuild " + j.path
	if j.path == "-c" {
		usage = "Usage: rlbuild -c CODE"
	}
	if len(all) > 0 {
		usage += " [NAME=VALUE ...]"
	}
	fmt.Fprintln(&b, usage)
	if len(all) > 0 {
		fmt.Fprintf(&b, "\nArguments of %s:\n", filepath.Base(j.path))
	}
	for _, a := range all {
		line := fmt.Sprintf("  %-14s %s", a.name, a.help)
		if a.required {
			line += " (required)"
		} else {
			line += fmt.Sprintf(" (default %s)", a.fallback)
		}
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
	}
	_, err := fmt.Fprint(plain{j.std.out}, b.String())
	return err
}
