package engine

import (
	"fmt"
	"slices"
	"time"

	"go.podman.io/buildah"
	"go.podman.io/buildah/define"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Form is what kind of value a Setting takes. Each takes nil as well, which unsets.
type Form int

const (
	Text     Form = iota // string
	Command              // []string, the words of a command, or a string; what that becomes, each setting decides
	List                 // []string
	Set                  // []Item: each is added, or taken out if its Value is nil; All takes out all there are
	Pairs                // []Item: each is set, or unset if its Value is nil
	Duration             // string, as time.ParseDuration reads it
	Number               // int
)

// All is the Key of an Item that takes all out of a Set.
const All = "-"

// Item is one of a Set or of Pairs, which are done in the order in which they are given.
type Item struct {
	Key   string
	Value *string
}

// Setting is one option of an image's configuration.
type Setting struct {
	Name string
	Form Form
	Doc  string // what it sets, a sentence

	set         func(b *buildah.Builder, value any) error // nil for those of the health check, which are set together
	instruction string                                    // what it is called in a Containerfile, and so in the history
}

// Settings lists what Configure can set, in the order in which it is set, which is that of buildah config.
func Settings() []Setting { return slices.Clone(settings) }

var settings = []Setting{
	{"author", Text, "who is responsible for the image", text((*buildah.Builder).SetMaintainer), ""},
	{"created_by", Text, "what the history says made the layer", text((*buildah.Builder).SetCreatedBy), ""},
	{"arch", Text, "the architecture, as GOARCH", text((*buildah.Builder).SetArchitecture), ""},
	{"variant", Text, "the architecture's variant", text((*buildah.Builder).SetVariant), ""},
	{"os", Text, "the operating system, as GOOS", text((*buildah.Builder).SetOS), ""},
	{"os_feature", Set, "features that the operating system must have", set((*buildah.Builder).SetOSFeature,
		(*buildah.Builder).UnsetOSFeature, (*buildah.Builder).ClearOSFeatures), ""},
	{"os_version", Text, "the operating system's version", text((*buildah.Builder).SetOSVersion), ""},
	{"user", Text, `the user that commands run as, "user[:group]"`, text((*buildah.Builder).SetUser), "USER"},
	{"shell", Command, "the shell that runs commands given as a string; a string is split into its words; docker format only",
		words((*buildah.Builder).SetShell), "SHELL"},
	{"stop_signal", Text, "the signal that asks the command to end", text((*buildah.Builder).SetStopSignal), "STOPSIGNAL"},
	{"port", Set, `ports that the image serves, "80/tcp"`, set((*buildah.Builder).SetPort, (*buildah.Builder).UnsetPort,
		(*buildah.Builder).ClearPorts), "EXPOSE"},
	{"env", Pairs, "environment variables; $NAME in a value is what the image has so far, $$ a dollar sign",
		environment, "ENV"},
	{"entrypoint", Command, "the command that containers start with; a string runs in /bin/sh -c",
		command((*buildah.Builder).SetEntrypoint), "ENTRYPOINT"},
	{"cmd", Command, "the default command, or the entry point's default arguments; a string runs in /bin/sh -c",
		command((*buildah.Builder).SetCmd), "CMD"},
	{"volume", Set, "paths that containers keep outside the image", set((*buildah.Builder).AddVolume,
		(*buildah.Builder).RemoveVolume, (*buildah.Builder).ClearVolumes), "VOLUME"},
	{"healthcheck", Command, `the command that tells whether a container is well, ["CMD", …], ["CMD-SHELL", …] or ["NONE"]; ` +
		"another string runs in the image's shell; docker format only", nil, ""},
	{"healthcheck_interval", Duration, "the time between health checks", nil, ""},
	{"healthcheck_retries", Number, "how many health checks in a row must fail", nil, ""},
	{"healthcheck_start_period", Duration, "the time after the start in which failures don't count", nil, ""},
	{"healthcheck_start_interval", Duration, "the time between health checks in that period", nil, ""},
	{"healthcheck_timeout", Duration, "how long a health check may take", nil, ""},
	{"label", Pairs, "labels", pairs((*buildah.Builder).SetLabel, (*buildah.Builder).UnsetLabel,
		(*buildah.Builder).ClearLabels), "LABEL"},
	{"unsetlabel", List, "labels that go", list((*buildah.Builder).UnsetLabel, nil), ""},
	{"unsetannotation", List, "annotations that go", list((*buildah.Builder).UnsetAnnotation, nil), ""},
	{"workingdir", Text, "the directory that commands start in", text((*buildah.Builder).SetWorkDir), "WORKDIR"},
	{"comment", Text, "a comment in the image's configuration; docker format only", text((*buildah.Builder).SetComment), ""},
	{"history_comment", Text, "the comment in the history's entry for the layer", text((*buildah.Builder).SetHistoryComment), ""},
	{"domainname", Text, "the domain name; docker format only", text((*buildah.Builder).SetDomainname), ""},
	{"hostname", Text, "the host name; docker format only", text((*buildah.Builder).SetHostname), ""},
	{"onbuild", List, "instructions to run when the image is built upon; docker format only",
		list((*buildah.Builder).SetOnBuild, (*buildah.Builder).ClearOnBuild), "ONBUILD"},
	{"annotation", Pairs, "annotations of the image's manifest; OCI format only", pairs((*buildah.Builder).SetAnnotation,
		(*buildah.Builder).UnsetAnnotation, (*buildah.Builder).ClearAnnotations), ""},
}

// Configure changes the configuration of the image that the container will become. Only the settings that are named
// change; the value nil unsets one. Values must have the setting's Form. With history, the image's history has an entry
// for each setting that a Containerfile has an instruction for.
func (c *Container) Configure(values map[string]any, history bool) error {
	if err := c.alive("config"); err != nil {
		return err
	}
	// The format is chosen when the container is committed, and what that can't hold is said then. The library would
	// complain here, of whatever isn't in this one.
	defer func(format string) { c.builder.Format = format }(c.builder.Format)
	c.builder.Format = define.Dockerv2ImageManifest
	var entries []string
	for _, s := range settings {
		value, named := values[s.Name]
		switch {
		case s.Name == "healthcheck":
			entry, err := configureHealth(c.builder, values)
			if err != nil {
				return err
			}
			entries = append(entries, entry...)
			continue
		case !named || s.set == nil:
			continue
		}
		if err := s.set(c.builder, value); err != nil {
			return failure.New("config:", s.Name, "%w", err)
		}
		entries = append(entries, s.history(value)...)
	}
	c.annotated = c.annotated || values["annotation"] != nil
	c.noteCommand(values)
	if history {
		now := c.run.now()
		for _, entry := range entries {
			c.builder.AddPrependedEmptyLayer(&now, "/bin/sh -c #(nop) "+entry, "", "")
		}
	}
	return nil
}

// noteCommand says what becomes of a command that was there before the entry point.
func (c *Container) noteCommand(values map[string]any) {
	_, named := values["cmd"]
	if cmd := c.builder.Cmd(); values["entrypoint"] != nil && !named && len(cmd) > 0 {
		fate := "is passed to the entry point as its arguments"
		if _, line := values["entrypoint"].(string); line {
			fate = "is ignored, since the entry point is a line for the shell"
		}
		c.run.options.Note(fmt.Sprintf("config %s: the command %s stays and %s: name cmd as well, None unsets it", c.name, jsonList(cmd), fate))
	}
}

// now is the time that new entries of the history have.
func (b *Builder) now() time.Time {
	if b.options.Created != nil {
		return b.options.Created.UTC()
	}
	return time.Now().UTC()
}
