package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/openshift/imagebuilder"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// batch is what is copied from one tree.
type batch struct {
	tree      *tree
	sources   []Source // in the tree
	single    bool     // one file that was made for this copy, a download's or of Contents
	name      string   // what that file is called in a directory, "" for no name
	directory bool     // the destination has to be one
}

// gathered is all that one copy copies.
type gathered struct {
	batches []batch
	ignored []string // patterns of the ignore file
	temp    string   // directory of what was fetched and made, "" for none
}

// single is the name of a file that is made for a copy, in a directory of its own.
const single = "content"

// gather finds, fetches and makes what is to be copied. What it returns is closed, also after an error.
func (c *Container) gather(ctx context.Context, o CopyOptions) (*gathered, error) {
	g := &gathered{}
	if o.Contents != nil {
		return g, g.add(c.run, batch{single: true}, func(dir string) error {
			file := filepath.Join(dir, single)
			err := os.WriteFile(file, []byte(*o.Contents), 0o600)
			return errors.Join(err, os.Chmod(file, 0o644)) // whatever the umask
		})
	}
	var found, fetched []Source
	for _, s := range o.Sources {
		if s.URL != "" {
			fetched = append(fetched, s)
			continue
		}
		s, err := o.inTree(s)
		if err != nil {
			return g, err
		}
		found = append(found, s)
	}
	if len(found) > 0 || o.Context != nil {
		if err := g.open(ctx, c, o, found); err != nil {
			return g, err
		}
	}
	for _, s := range fetched {
		if err := g.fetch(ctx, c.run, o, s.URL); err != nil {
			return g, err
		}
	}
	return g, nil
}

// open adds the batch of local sources, and reads what is ignored. There may be no such sources: the patterns count for
// repositories too.
func (g *gathered) open(ctx context.Context, c *Container, o CopyOptions, found []Source) error {
	t, err := c.openSources(ctx, o)
	if err != nil {
		return err
	}
	g.ignored, err = o.ignored(t.files)
	if err != nil || len(found) == 0 {
		return errors.Join(err, t.close())
	}
	g.batches = append(g.batches, batch{tree: t, sources: found})
	return nil
}

// fetch adds the batch of a URL.
func (g *gathered) fetch(ctx context.Context, run *Builder, o CopyOptions, source string) error {
	if !isGit(source) {
		return g.add(run, batch{single: true, name: nameOf(source)}, func(dir string) error {
			return run.download(ctx, source, dir, o)
		})
	}
	err := g.add(run, batch{directory: true}, func(dir string) error { return run.clone(ctx, source, dir, o) })
	inside := parseGit(source, "").dir
	if err != nil || inside == "" {
		return err
	}
	t := g.batches[len(g.batches)-1].tree
	t.what = shownURL(source)
	if err := t.enter(inside); err != nil {
		return t.about(err)
	}
	return nil
}

// add adds a batch that fill makes in an empty directory: the file "content", or with more files all of them.
func (g *gathered) add(run *Builder, b batch, fill func(dir string) error) (err error) {
	if g.temp == "" {
		if g.temp, err = os.MkdirTemp(run.options.TempDir, "copy-"); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(g.temp, "")
	if err != nil {
		return err
	}
	if err := fill(dir); err != nil {
		return err
	}
	if b.tree, err = openTree(dir); err != nil {
		return err
	}
	b.sources = []Source{{Path: "/"}}
	if b.single {
		b.sources[0].Path = "/" + single
	}
	g.batches = append(g.batches, b)
	return nil
}

func (g *gathered) close() error {
	var errs []error
	for _, b := range g.batches {
		errs = append(errs, b.tree.close())
	}
	if g.temp != "" {
		errs = append(errs, os.RemoveAll(g.temp))
	}
	return errors.Join(errs...)
}

// ignoreLimit is how large an ignore file may be, in bytes.
const ignoreLimit = 1 << 20

// ignored returns the patterns of the ignore file: the one that is named, or what the context directory has as such.
func (o *CopyOptions) ignored(context *rootfs.FS) ([]string, error) {
	if o.Context == nil {
		return nil, nil
	}
	if o.IgnoreFile != nil {
		root, err := rootfs.Open(o.IgnoreFile.Root)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		return readIgnored(root, o.IgnoreFile.Path)
	}
	for _, name := range []string{".containerignore", ".dockerignore"} {
		patterns, err := readIgnored(context, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return patterns, err
		}
	}
	return nil, nil
}

func readIgnored(files *rootfs.FS, name string) ([]string, error) {
	text, err := files.ReadFile(path.Join("/", name), ignoreLimit)
	if err != nil {
		return nil, fmt.Errorf("ignore file: %w", err)
	}
	return imagebuilder.ParseIgnoreReader(bytes.NewReader(text))
}
