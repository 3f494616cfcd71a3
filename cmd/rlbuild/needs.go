package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine/checkup"
	"github.com/rlbuild/rlbuild/engine/reference"
	"github.com/rlbuild/rlbuild/engine/script"
)

// needs is what a script needs of the machine, as far as its text tells.
type needs struct {
	kinds    []checkup.Need
	commands []string // of the host, by the names that the script calls them by
	certain  []string // those of them that it can't do without
}

func (n *needs) add(kind checkup.Need) {
	if !slices.Contains(n.kinds, kind) {
		n.kinds = append(n.kinds, kind)
	}
}

// has reports whether what was checked for kind matters.
func (n needs) has(kind checkup.Need) bool {
	return kind == checkup.Always || slices.Contains(n.kinds, kind)
}

// usualNeeds are those of any ordinary script.
func usualNeeds() needs { return needs{kinds: []checkup.Need{checkup.Steps}} }

// needsOf works out what a script and its libraries need, without running them. What is known only when they run is
// left out.
func needsOf(program *script.Program) needs {
	var n needs
	own := ownNames(program)
	for _, verb := range []string{"run", "build"} {
		for _, call := range program.AllCalls(verb) {
			n.add(checkup.Steps)
			n.settings(call)
		}
	}
	for _, call := range program.AllCalls("from_") {
		n.settings(call)
		n.image(argumentOf(call, 0, "image"), own)
	}
	for _, call := range program.AllCalls("pull") {
		n.image(argumentOf(call, 0, "name"), own)
	}
	for _, call := range program.AllCalls("push") {
		n.destination(argumentOf(call, 1, "dest"), true)
		if _, named := call.Kwargs["dest"]; len(call.Args) < 2 && !named {
			n.add(checkup.Registries) // to the place that the image is named for
		}
	}
	for _, call := range program.AllCalls("commit") {
		n.destination(argumentOf(call, 1, "name"), false)
	}
	for _, call := range program.AllCalls("host") {
		n.command(call)
	}
	slices.Sort(n.commands)
	n.commands = slices.Compact(n.commands)
	if len(n.commands) > 0 {
		n.add(checkup.Commands)
	}
	return n
}

// settings takes the options by which a step, or a container's steps, ask for a runtime or a network.
func (n *needs) settings(call script.Call) {
	if kind, _ := starlark.AsString(call.Kwargs["isolation"]); kind == "oci" || kind == "rootless" {
		n.add(checkup.Runtime)
	}
	if runtime, _ := starlark.AsString(call.Kwargs["runtime"]); runtime != "" {
		n.add(checkup.Runtime)
	}
	for _, name := range cgroupOptions {
		if text, _ := starlark.AsString(call.Kwargs[name]); text != "" || isNumber(call.Kwargs[name]) {
			n.add(checkup.Runtime) // nothing else keeps steps in a cgroup
			n.add(checkup.Limits)
		}
	}
	if network, _ := starlark.AsString(call.Kwargs["network"]); network == "private" {
		n.add(checkup.PrivateNetwork)
	}
}

// cgroupOptions are those that limit what steps use.
var cgroupOptions = []string{
	"memory", "memory_swap", "cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus", "cpuset_mems", "cgroup_parent",
}

// isNumber reports whether a value is known and a number other than 0, which stands for no limit.
func isNumber(value starlark.Value) bool {
	n, ok := value.(starlark.Int)
	return ok && n.Sign() != 0
}

// image takes the name of an image that a container or the store starts with.
func (n *needs) image(text string, own []string) {
	if text == "" || text == "scratch" || slices.Contains(own, text) {
		return
	}
	name, err := reference.Parse(text)
	switch {
	case err != nil: // the run says what is wrong
	case name.Transport == reference.Registry, name.Transport == "" && !local(name):
		n.add(checkup.Registries)
	}
}

// destination takes the name that an image goes to; a plain one is a registry's only if plain says so.
func (n *needs) destination(text string, plain bool) {
	if text == "" {
		return
	}
	name, err := reference.Parse(text)
	if err == nil && (name.Transport == reference.Registry || plain && name.Transport == "" && !local(name)) {
		n.add(checkup.Registries)
	}
}

// local reports whether a plain name is one that images get in the store, "localhost/app": no registry has those.
func local(name reference.Name) bool { return name.Host() == "localhost" }

// ownNames lists the names that the script itself gives to images.
func ownNames(program *script.Program) []string {
	var names []string
	for verb, keyword := range map[string]string{"commit": "name", "tag": "name", "manifest": "name", "build": "tag"} {
		for _, call := range program.AllCalls(verb) {
			position := 1
			if verb == "manifest" {
				position = 0
			}
			if verb == "build" {
				position = -1
			}
			names = append(names, argumentOf(call, position, keyword))
		}
	}
	return names
}

// argumentOf returns the text of an argument given by position or by name, "" when it isn't there or not a literal.
func argumentOf(call script.Call, position int, name string) string {
	value := call.Kwargs[name]
	if position >= 0 && position < len(call.Args) {
		value = call.Args[position]
	}
	text, _ := starlark.AsString(value)
	return text
}

// plainCommand is a word that a shell takes for the name of a program, or of something of its own.
var plainCommand = regexp.MustCompile(`^[A-Za-z0-9_./+-]+$`)

// command takes the program that a host call names: the first element of a list, or the first word of a line for the shell.
func (n *needs) command(call script.Call) {
	if env, _ := call.Text("env"); strings.Contains(env, "PATH") || len(call.Args) == 0 {
		return
	}
	name, _ := starlark.AsString(call.Firsts[0])
	if line, ok := starlark.AsString(call.Args[0]); ok {
		if fields := strings.Fields(line); len(fields) > 0 && !slices.Contains(shellWords, fields[0]) {
			name = fields[0]
		}
	}
	// A relative path depends on the directory that the command runs in.
	if plainCommand.MatchString(name) && (filepath.IsAbs(name) || !strings.Contains(name, "/")) {
		n.commands = append(n.commands, name)
		if call.Kwargs["check"] != starlark.False && !call.Maybe {
			n.certain = append(n.certain, name)
		}
	}
}

// shellWords are those that begin a shell's line and name no program: its grammar and what it does by itself.
var shellWords = strings.Fields(`. : [ alias bg break case cd command continue do done elif else esac eval exec exit export
	false fg fi for function getopts hash if in jobs kill local printf pwd read readonly return set shift source test then time
	times trap true type ulimit umask unalias unset until wait while echo`)

// findCommands looks for the commands that the script calls.
func (n needs) findCommands() []checkup.Finding {
	var all []checkup.Finding
	for _, name := range n.commands {
		f := checkup.Finding{Area: "commands", Name: name, Verdict: checkup.OK, Need: checkup.Commands}
		path, err := exec.LookPath(name)
		if f.Found = path; err != nil {
			f.Verdict, f.Found = checkup.Failed, "isn't installed, or isn't in PATH"
			f.Cure = fmt.Sprintf("Install %s, or leave the call of it out.", name)
			if !slices.Contains(n.certain, name) {
				f.Verdict, f.Found = checkup.Limited, f.Found+"; the script may do without"
			}
		}
		all = append(all, f)
	}
	return all
}
