package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/openshift/imagebuilder"
	"github.com/openshift/imagebuilder/dockerfile/parser"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// runTriggers carries out the instructions that the base image holds for those who build upon it (ONBUILD; images of docker
// format alone have them) and takes them out of the configuration, as `buildah from` does. They mean what they mean in a
// Containerfile. The files that they copy are those below the run's directory: an image reads nothing else of the host.
func (c *Container) runTriggers(ctx context.Context) error {
	for _, trigger := range c.builder.OnBuild() {
		c.run.step("onbuild " + oneLine(trigger))
		if err := c.runTrigger(ctx, trigger); err != nil {
			return failure.New("from_", c.Image(), "ONBUILD %s: %w", oneLine(trigger), err)
		}
	}
	c.builder.ClearOnBuild()
	return nil
}

func (c *Container) runTrigger(ctx context.Context, trigger string) error {
	file, err := imagebuilder.ParseDockerfile(strings.NewReader(trigger))
	if err != nil {
		return err
	}
	if len(file.Children) != 1 {
		return errors.New("is not one instruction")
	}
	node := file.Children[0]
	step := imagebuilder.Step{Env: c.builder.Env()}
	if err := step.Resolve(node); err != nil {
		return err
	}
	if len(node.Heredocs) > 0 {
		return errors.New("from_ reads no here-documents of triggers; use build(…)")
	}
	if set := triggers[node.Value]; set != nil {
		if len(step.Args) == 0 {
			return errors.New("lacks an argument")
		}
		set(c, step.Args, node.Attributes["json"])
		return nil
	}
	switch node.Value {
	case "add", "copy":
		return c.triggerCopy(ctx, node, step.Args)
	case "run":
		return c.triggerRun(ctx, node, step.Args)
	case "onbuild":
		return nil // of the image to be: taken out with the others
	case "annotation":
		// This and the next two are buildah's own, and no Containerfile's.
		name, value, found := strings.Cut(rest(trigger), "=")
		if found {
			c.builder.SetAnnotation(name, value)
		} else {
			c.builder.UnsetAnnotation(name)
		}
		return nil
	case "hostname":
		c.builder.SetHostname(rest(trigger))
		return nil
	case "workingdir":
		c.builder.SetWorkDir(rest(trigger))
		return nil
	}
	// Buildah doesn't know them either, and goes on.
	c.run.options.Display.Line(fmt.Sprintf("rlbuild: ONBUILD %s is left out: from_ knows no such trigger", oneLine(trigger)))
	return nil
}

// triggers are the instructions that change the configuration. JSON tells whether the arguments were a JSON list.
var triggers = map[string]func(c *Container, args []string, json bool){
	"cmd": func(c *Container, args []string, json bool) { c.builder.SetCmd(c.argv(args, json)) },
	"entrypoint": func(c *Container, args []string, json bool) {
		c.builder.SetEntrypoint(c.argv(args, json))
		c.builder.SetCmd(nil) // the base image's arguments are those of another command
	},
	"env": func(c *Container, args []string, _ bool) { eachPair(args, c.builder.SetEnv) },
	"expose": func(c *Container, args []string, _ bool) {
		for _, port := range args {
			c.builder.SetPort(port)
		}
	},
	"label":      func(c *Container, args []string, _ bool) { eachPair(args, c.builder.SetLabel) },
	"maintainer": func(c *Container, args []string, _ bool) { c.builder.SetMaintainer(args[0]) },
	"shell":      func(c *Container, args []string, _ bool) { c.builder.SetShell(args) },
	"stopsignal": func(c *Container, args []string, _ bool) { c.builder.SetStopSignal(args[0]) },
	"user":       func(c *Container, args []string, _ bool) { c.builder.SetUser(args[0]) },
	"volume": func(c *Container, args []string, _ bool) {
		for _, volume := range args {
			c.builder.AddVolume(volume)
		}
	},
	"workdir": func(c *Container, args []string, _ bool) {
		dir := args[0]
		if !path.IsAbs(dir) {
			dir = path.Join("/", c.builder.WorkDir(), dir)
		}
		c.builder.SetWorkDir(path.Clean(dir))
	},
}

// rest is what follows an instruction's name.
func rest(trigger string) string {
	_, args, _ := strings.Cut(strings.TrimSpace(trigger), " ")
	return strings.TrimSpace(args)
}

func eachPair(args []string, set func(name, value string)) {
	for pair := range slices.Chunk(args, 2) {
		if len(pair) == 2 { // the parser sees to it
			set(pair[0], pair[1])
		}
	}
}

// argv is the command of an instruction: a JSON list as it is, a line for the image's shell.
func (c *Container) argv(args []string, json bool) []string {
	if json {
		return args
	}
	shell := c.builder.Shell()
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), args...)
}

func (c *Container) triggerRun(ctx context.Context, node *parser.Node, args []string) error {
	if len(node.Flags) > 0 {
		return fmt.Errorf("from_ takes no flags of triggers (%s); use build(…)", strings.Join(node.Flags, " "))
	}
	if len(args) == 0 {
		return errors.New("lacks a command")
	}
	result, err := c.Run(ctx, RunOptions{Process: Process{Args: c.argv(args, node.Attributes["json"])}})
	if err != nil {
		return err
	}
	return result.Err()
}

func (c *Container) triggerCopy(ctx context.Context, node *parser.Node, args []string) error {
	if len(args) < 2 {
		return errors.New("lacks a source or a destination")
	}
	o := CopyOptions{Chown: "0:0", Extract: node.Value == "add", Dest: args[len(args)-1]}
	for _, flag := range node.Flags {
		name, value, _ := strings.Cut(flag, "=")
		switch name {
		case "--chown":
			o.Chown = value
		case "--chmod":
			o.Chmod = value
		default:
			return fmt.Errorf("from_ takes no %s of triggers; use build(…)", name)
		}
	}
	for _, source := range args[:len(args)-1] {
		o.Sources = append(o.Sources, Source{Root: c.run.options.Dir, Path: source})
	}
	return c.Copy(ctx, o)
}
