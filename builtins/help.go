package builtins

import (
	"fmt"
	"slices"
	"strings"
)

// Names lists the builtins and, as path.NAME, the methods of paths, in the order in which help shows them.
func Names() []string {
	var names []string
	for _, v := range documented() {
		names = append(names, v.name)
	}
	return names
}

func documented() []*verb { return append(verbs(), pathMethods...) }

// Help returns the reference text of a builtin or method, or "" if there is none of that name.
func Help(name string) string {
	all := documented()
	i := slices.IndexFunc(all, func(v *verb) bool { return v.name == name })
	if i < 0 {
		return ""
	}
	v := all[i]
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s %s.\n", v.signature(), v.name, v.summary)
	if v.doc != "" {
		fmt.Fprintf(&b, "\n%s\n", v.doc)
	}
	if len(v.params) > 0 {
		b.WriteString("\nParameters:\n")
		for _, p := range v.params {
			fmt.Fprintf(&b, "  %s: %s\n", p.name, p.text())
		}
	}
	if v.gives != "" {
		fmt.Fprintf(&b, "\nReturns %s.\n", v.gives)
	}
	for _, example := range v.examples() {
		fmt.Fprintf(&b, "\nExample:\n%s\n", indent(example, "  "))
	}
	return b.String()
}

// Summary returns one line for each builtin and method.
func Summary() string {
	var b strings.Builder
	for _, v := range documented() {
		fmt.Fprintf(&b, "  %-14s %s\n", v.name, v.summary)
	}
	return b.String()
}

// Examples returns the examples of a builtin or method. Each is a script; "ctr" in it is a container with a shell.
func Examples(name string) []string {
	for _, v := range documented() {
		if v.name == name {
			return v.examples()
		}
	}
	return nil
}

func (v *verb) examples() []string { return append([]string{v.example}, v.more...) }

func (v *verb) signature() string {
	parts := make([]string, len(v.params))
	starred := false
	for i, p := range v.params {
		if p.keyword && !starred && !v.params[max(0, i-1)].many {
			parts[i], starred = "*, ", true
		}
		switch {
		case p.many:
			parts[i] += "*" + p.name
		case p.required:
			parts[i] += p.name
		default:
			parts[i] += p.name + "="
			parts[i] += p.fallback
		}
	}
	return v.name + "(" + strings.Join(parts, ", ") + ")"
}

func (p *param) text() string {
	text := p.kind.want + "; " + p.doc
	if p.fallback != "" {
		text += "; default " + p.fallback
	}
	return text + "."
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(text, "\n", "\n"+by)
}

// Parameters returns the names of a builtin's parameters, or nil if there is none of that name.
func Parameters(name string) []string {
	for _, v := range documented() {
		if v.name == name {
			names := make([]string, len(v.params))
			for i, p := range v.params {
				names[i] = p.name
			}
			return names
		}
	}
	return nil
}

// Reference returns the reference of all builtins and methods as a Markdown page.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Reference\n\nMade from the same text as `rlbuild help BUILTIN`, by `make docs`. In the examples, which the tests run, " +
		"`ctr` is a container with a shell.\n")
	for _, v := range documented() {
		fmt.Fprintf(&b, "\n## %s\n\n", v.name)
		fmt.Fprintf(&b, "```python\n%s\n```\n\n%s %s.\n", v.signature(), v.name, v.summary)
		if v.doc != "" {
			fmt.Fprintf(&b, "\n%s\n", v.doc)
		}
		if len(v.params) > 0 {
			b.WriteString("\n")
		}
		for _, p := range v.params {
			fmt.Fprintf(&b, "- `%s`: %s\n", p.name, p.text())
		}
		if v.gives != "" {
			fmt.Fprintf(&b, "\nReturns %s.\n", v.gives)
		}
		for _, example := range v.examples() {
			fmt.Fprintf(&b, "\n```python\n%s\n```\n", example)
		}
	}
	return b.String()
}
