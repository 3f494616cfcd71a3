package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"go.podman.io/buildah"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Source is what Copy copies: a path that is resolved below a root, so that no link leads out of it.
type Source struct {
	Root string // "/" for the host's files
	Path string // below Root; may hold wildcards (* ? [])
}

// CopyOptions say what is copied where.
type CopyOptions struct {
	Sources []Source // all below the same root
	Dest    string   // in the container; relative to its working directory; a trailing "/" means a directory
	Chown   string   // "user[:group]", names or numbers, looked up in the container; "" is 0:0 for host files
	Chmod   string   // octal; "" keeps
	Exclude []string // patterns of a .containerignore
	Extract bool     // unpack local archives, as add does
}

// Copy copies files into the container, owners kept if they come from another container.
func (c *Container) Copy(_ context.Context, o CopyOptions) error {
	verb := "copy"
	if o.Extract {
		verb = "add"
	}
	if err := c.alive(verb); err != nil {
		return err
	}
	root := o.Sources[0].Root
	paths := make([]string, len(o.Sources))
	for i, s := range o.Sources {
		if s.Root != root {
			return failure.New(verb, s.Path, "sources lie below different mounts").WithHint("copy from each in its own call.")
		}
		// Cleaned as an absolute path first, so that ".." ends at the root, as it does for a process in there.
		paths[i] = filepath.Join(root, filepath.Join("/", s.Path))
		if strings.HasSuffix(s.Path, "/.") {
			paths[i] += "/." // "the content of", as cp has it
		}
	}
	c.run.step(fmt.Sprintf("%s %s to %s", verb, o.Sources[0].Path, o.Dest))
	if err := c.run.tidy(); err != nil {
		return err
	}
	err := c.builder.Add(o.Dest, o.Extract, buildah.AddAndCopyOptions{
		ContextDir:        root,
		Chown:             o.Chown,
		Chmod:             o.Chmod,
		Excludes:          o.Exclude,
		PreserveOwnership: root != "/",
	}, paths...)
	if err != nil {
		return explain(verb, fmt.Sprintf("%s to %s", o.Sources[0].Path, o.Dest), err)
	}
	return nil
}
