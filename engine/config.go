package engine

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"go.podman.io/buildah"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Form is what kind of value a Setting takes. Each takes nil as well, which unsets.
type Form int

const (
	Text    Form = iota // string
	Command             // []string: argv
	List                // []string: each is added
	Pairs               // map[string]*string: each is set; nil unsets the one
)

// Setting is one option of an image's configuration.
type Setting struct {
	Name string
	Form Form
	Doc  string // what it sets, a sentence

	set func(b *buildah.Builder, value any) error
}

// Settings lists what Configure can set, in the order in which it is set: an entry point clears the command, so the
// command comes later.
func Settings() []Setting { return slices.Clone(settings) }

var settings = []Setting{
	{"annotation", Pairs, "annotations of the image's manifest", pairs((*buildah.Builder).SetAnnotation,
		(*buildah.Builder).UnsetAnnotation, (*buildah.Builder).ClearAnnotations)},
	{"arch", Text, "the architecture, as GOARCH", text((*buildah.Builder).SetArchitecture)},
	{"author", Text, "who is responsible for the image", text((*buildah.Builder).SetMaintainer)},
	{"comment", Text, "a comment in the image's configuration", text((*buildah.Builder).SetComment)},
	{"created_by", Text, "what the history says made the layer", text((*buildah.Builder).SetCreatedBy)},
	{"domainname", Text, "the domain name; docker format only", text((*buildah.Builder).SetDomainname)},
	{"entrypoint", Command, "the command that containers start with", command((*buildah.Builder).SetEntrypoint)},
	{"cmd", Command, "the default command, or the entry point's default arguments", command((*buildah.Builder).SetCmd)},
	{"env", Pairs, "environment variables; $NAME in a value is what the image has so far, $$ a dollar sign",
		environment},
	{"history_comment", Text, "the comment in the history's entry for the layer", text((*buildah.Builder).SetHistoryComment)},
	{"hostname", Text, "the host name; docker format only", text((*buildah.Builder).SetHostname)},
	{"label", Pairs, "labels", pairs((*buildah.Builder).SetLabel, (*buildah.Builder).UnsetLabel,
		(*buildah.Builder).ClearLabels)},
	{"onbuild", List, "instructions to run when the image is built upon; docker format only",
		list((*buildah.Builder).SetOnBuild, (*buildah.Builder).ClearOnBuild)},
	{"os", Text, "the operating system, as GOOS", text((*buildah.Builder).SetOS)},
	{"os_version", Text, "the operating system's version", text((*buildah.Builder).SetOSVersion)},
	{"port", List, `ports that the image serves, "80/tcp"`, list((*buildah.Builder).SetPort, (*buildah.Builder).ClearPorts)},
	{"shell", Command, "the shell that runs commands given as a string; docker format only",
		command((*buildah.Builder).SetShell)},
	{"stop_signal", Text, "the signal that asks the command to end", text((*buildah.Builder).SetStopSignal)},
	{"user", Text, `the user that commands run as, "user[:group]"`, text((*buildah.Builder).SetUser)},
	{"variant", Text, "the architecture's variant", text((*buildah.Builder).SetVariant)},
	{"volume", List, "paths that containers keep outside the image",
		list((*buildah.Builder).AddVolume, (*buildah.Builder).ClearVolumes)},
	{"workingdir", Text, "the directory that commands start in", text((*buildah.Builder).SetWorkDir)},
}

// Configure changes the configuration of the image that the container will become. Only the settings that are named
// change; the value nil unsets one. Values must have the setting's Form.
func (c *Container) Configure(values map[string]any) error {
	if err := c.alive("config"); err != nil {
		return err
	}
	for _, s := range settings {
		value, named := values[s.Name]
		if !named {
			continue
		}
		if err := s.set(c.builder, value); err != nil {
			return failure.New("config", s.Name, "%w", err)
		}
	}
	return nil
}

func text(set func(*buildah.Builder, string)) func(*buildah.Builder, any) error {
	return func(b *buildah.Builder, value any) error {
		s, _ := value.(string) // nil is the empty string, which is how the library unsets
		set(b, s)
		return nil
	}
}

func command(set func(*buildah.Builder, []string)) func(*buildah.Builder, any) error {
	return func(b *buildah.Builder, value any) error {
		argv, _ := value.([]string)
		set(b, argv)
		return nil
	}
}

func list(add func(*buildah.Builder, string), clear func(*buildah.Builder)) func(*buildah.Builder, any) error {
	return func(b *buildah.Builder, value any) error {
		if value == nil {
			clear(b)
			return nil
		}
		for _, item := range value.([]string) {
			if item == "" {
				return fmt.Errorf("an empty string in the list")
			}
			add(b, item)
		}
		return nil
	}
}

func pairs(set func(*buildah.Builder, string, string), unset func(*buildah.Builder, string),
	clear func(*buildah.Builder)) func(*buildah.Builder, any) error {
	return func(b *buildah.Builder, value any) error {
		if value == nil {
			clear(b)
			return nil
		}
		for key, v := range value.(map[string]*string) {
			if key == "" {
				return fmt.Errorf("an empty key")
			}
			if v == nil {
				unset(b, key)
			} else {
				set(b, key, *v)
			}
		}
		return nil
	}
}

// environment sets variables, with those that the image has so far expanded in the values, as buildah config does.
func environment(b *buildah.Builder, value any) error {
	if value == nil {
		b.ClearEnv()
		return nil
	}
	before := map[string]string{}
	for _, line := range b.Env() {
		name, v, _ := strings.Cut(line, "=")
		before[name] = v
	}
	variables := value.(map[string]*string)
	names := make([]string, 0, len(variables))
	for name := range variables {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v := variables[name]
		if name == "" || strings.Contains(name, "=") {
			return fmt.Errorf("%q can't be a variable's name", name)
		}
		if v == nil {
			b.UnsetEnv(name)
			continue
		}
		missing := ""
		expanded := os.Expand(*v, func(ref string) string {
			if ref == "$" {
				return "$"
			}
			found, ok := before[ref]
			if !ok {
				missing = ref
			}
			return found
		})
		if missing != "" {
			return fmt.Errorf("%s: $%s is not set in the image; write $$ for a dollar sign", name, missing)
		}
		b.SetEnv(name, expanded)
	}
	return nil
}
