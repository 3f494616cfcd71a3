package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"
)

// Glob returns the names that match pattern, sorted, each once. The pattern knows * ? [class] {a,b} and, as a whole
// component, ** for any depth; names that begin with a dot match like any other; a backslash makes the next character
// literal. Links are followed in the part of the pattern before the first wildcard, not below: two links to "." in a
// hostile tree would make ** visit it 2^40 times. A directory that can't be read is an error, for the answer would be
// incomplete; one that doesn't exist matches nothing. A pattern with ".." is refused.
func (f *FS) Glob(pattern string) ([]string, error) {
	clean := strings.TrimLeft(pattern, "/")
	for strings.HasPrefix(clean, "./") {
		clean = strings.TrimLeft(clean[2:], "/")
	}
	if slices.Contains(strings.Split(clean, "/"), "..") {
		// doublestar would silently match nothing.
		return nil, failed("glob", pattern, fmt.Errorf("a pattern can't hold %q", ".."))
	}
	matches, err := doublestar.Glob(view{f}, clean, doublestar.WithNoFollow(), doublestar.WithFailOnIOErrors())
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			pattern = at.Path // the directory that couldn't be read says more than the pattern
		}
		return nil, failed("glob", pattern, err)
	}
	for i, match := range matches {
		matches[i] = path.Clean(match) // doublestar repeats the pattern's "./" and "//"; without ".." cutting text is safe
	}
	slices.Sort(matches)
	return slices.Compact(matches), nil
}

// view is an FS as doublestar reads it: through Stat and ReadDir.
type view struct{ root *FS }

// Open is there because fs.FS asks for it; with the methods below nothing calls it.
func (v view) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// Stat implements fs.StatFS.
func (v view) Stat(name string) (fs.FileInfo, error) {
	info, err := v.root.Stat(name)
	if err != nil {
		return nil, notThere(err)
	}
	return file{path.Base(name), info}, nil
}

// ReadDir implements fs.ReadDirFS.
func (v view) ReadDir(name string) ([]fs.DirEntry, error) {
	handle, err := v.root.follow(name)
	if err != nil {
		return nil, notThere(failed("list", name, err))
	}
	defer handle.Close()
	names, err := list(handle)
	if err != nil {
		return nil, notThere(failed("list", name, err))
	}
	entries := make([]fs.DirEntry, 0, len(names))
	for _, base := range names {
		if v.root.ctx.Err() != nil {
			return nil, failed("list", name, context.Cause(v.root.ctx))
		}
		entry, err := openat(handle, base, unix.O_PATH, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, failed("stat", path.Join(name, base), err)
		}
		info, err := stat(entry)
		entry.Close()
		if err != nil {
			return nil, failed("stat", path.Join(name, base), err)
		}
		entries = append(entries, fs.FileInfoToDirEntry(file{base, info}))
	}
	return entries, nil
}

// notThere makes "a component is a file" the same as "doesn't exist", which it is to a pattern.
func notThere(err error) error {
	if errors.Is(err, unix.ENOTDIR) {
		return fs.ErrNotExist
	}
	return err
}

// file is an Info with its name, as io/fs wants it.
type file struct {
	name string
	info Info
}

func (f file) Name() string       { return f.name }
func (f file) Size() int64        { return f.info.Size }
func (f file) Mode() fs.FileMode  { return f.info.Mode }
func (f file) ModTime() time.Time { return f.info.ModTime }
func (f file) IsDir() bool        { return f.info.Mode.IsDir() }
func (f file) Sys() any           { return nil }
