package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// arguments returns the build arguments, those of files first.
func (b *build) arguments() (map[string]string, error) {
	args := map[string]string{}
	set := func(line string) {
		name, value, given := strings.Cut(line, "=")
		if !given {
			if value, given = b.run.environment(name); !given {
				delete(args, name)
				return
			}
		}
		args[name] = value
	}
	for _, file := range b.options.Source.ArgFiles {
		text, err := readSmall(file, maxContainerfile)
		if err != nil {
			return nil, failure.New("build", b.subject, "build_arg_file: %w", err)
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if line != "" && line[0] != '#' {
				set(line)
			}
		}
	}
	for _, line := range b.options.Source.Args {
		set(line)
	}
	return args, nil
}

// environment returns a variable of the environment that rlbuild was started with.
func (b *Builder) environment(name string) (value string, set bool) {
	for _, line := range b.options.Env {
		if key, value, _ := strings.Cut(line, "="); key == name {
			return value, true
		}
	}
	return "", false
}

// variables returns the image's variables. Those without a value are taken from the environment, as many as are set there;
// "LC_*" is all that begin so.
func (b *build) variables() []string {
	var lines []string
	for _, line := range b.options.Source.Env {
		if strings.Contains(line, "=") {
			lines = append(lines, line)
			continue
		}
		prefix, pattern := strings.CutSuffix(line, "*")
		if !pattern {
			prefix = line + "="
		}
		for _, set := range b.run.options.Env {
			if strings.HasPrefix(set, prefix) {
				lines = append(lines, set)
			}
		}
	}
	return lines
}

// contexts returns the further contexts.
func (b *build) contexts() (map[string]*define.AdditionalBuildContext, error) {
	all := map[string]*define.AdditionalBuildContext{}
	for name, extra := range b.options.Source.Contexts {
		refused := func(err error) error {
			return failure.New("build", b.subject, "build_context %q: %w", name, err)
		}
		if extra.Source == nil {
			parsed, err := parse.GetAdditionalBuildContext(extra.Text)
			if err != nil {
				return nil, refused(err)
			}
			all[name] = &parsed
			continue
		}
		at, err := extra.Source.Resolve()
		if err == nil {
			_, err = os.Stat(at)
		}
		var missing *fs.PathError
		if errors.As(err, &missing) {
			err = fmt.Errorf("%s: %w", extra.Source.host(), missing.Err)
		}
		if err != nil {
			return nil, refused(err)
		}
		all[name] = &define.AdditionalBuildContext{Value: at}
	}
	return all, nil
}
