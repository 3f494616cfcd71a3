package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// source is what one of the Sources stands for.
type source struct {
	pattern string
	items   []item // sorted by name, at least one
}

// item is one file or directory that is copied.
type item struct {
	name string // as it matched
	path string // what is copied: where name's own links lead, or with NoFollow name itself
	st   unix.Stat_t
	kind uint32 // the type of what the links lead to, which says what the destination is; 0 for nothing
}

func (i item) isDir() bool     { return i.kind == unix.S_IFDIR }
func (i item) isRegular() bool { return i.kind == unix.S_IFREG }

// match finds the items of all sources. A pattern with wildcards that matches nothing is passed over as long as another
// source has something, or as there may be nothing.
func (t *Transfer) match() (sources []source, err error) {
	for _, pattern := range t.options.Sources {
		clean := path.Clean("/" + pattern)
		// The library treats these two in ways of its own: a backslash takes away a wildcard's meaning only in some of
		// its passes over the name, and "**" is any depth.
		if strings.Contains(clean, `\`) || slices.Contains(strings.Split(clean, "/"), "**") {
			return nil, ErrNotCovered
		}
		if t.options.NoWildcards && wild(clean) {
			return nil, fmt.Errorf("%s: wildcards are not allowed", clean)
		}
		names, err := t.glob(clean)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			if wild(clean) {
				continue
			}
			return nil, named(clean, unix.ENOENT)
		}
		s := source{pattern: pattern}
		for _, name := range names {
			found, err := t.find(name)
			if errors.Is(err, fs.ErrNotExist) && t.exclude.matches(name) {
				found, err = item{name: name, path: name}, nil // where an excluded link leads doesn't matter
			}
			if err != nil {
				return nil, err
			}
			s.items = append(s.items, found)
		}
		sources = append(sources, s)
	}
	if len(sources) == 0 && !t.options.EmptyWildcard {
		return nil, fmt.Errorf("nothing matches %s: %w", strings.Join(t.options.Sources, ", "), unix.ENOENT)
	}
	return sources, nil
}

// wild tells whether a name holds wildcards.
func wild(name string) bool { return strings.ContainsAny(name, "*?[") }

// special tells whether a name would be taken for a pattern by the library, which matches destinations as well.
func special(name string) bool { return strings.ContainsAny(name, `*?[\`) }

// glob returns the names that match a clean absolute pattern, as filepath.Glob has it: links are followed on the way, the
// last part isn't, and what can't be read matches nothing.
func (t *Transfer) glob(pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	matches := []string{"/"}
	for _, part := range strings.Split(pattern, "/")[1:] {
		if part == "" {
			break // the root itself
		}
		var next []string
		for _, dir := range matches {
			if !wild(part) {
				next = append(next, path.Join(dir, part))
				continue
			}
			names, err := t.options.From.ReadDir(dir)
			if err != nil {
				continue
			}
			for _, name := range names {
				if ok, _ := path.Match(part, name); ok { // the pattern was checked as a whole
					next = append(next, path.Join(dir, name))
				}
			}
		}
		matches = next
	}
	matches = slices.DeleteFunc(matches, func(name string) bool {
		_, err := t.options.From.Lstat(name)
		return err != nil
	})
	slices.Sort(matches)
	return matches, nil
}

// find returns the item of a name that matched.
func (t *Transfer) find(name string) (item, error) {
	if !t.options.NoFollow {
		return t.dereference(name)
	}
	link, err := t.inspect(item{name: name, path: name})
	if err != nil || link.kind != unix.S_IFLNK {
		return link, err
	}
	link.kind = 0
	target, err := t.options.From.Resolve(name)
	if err == nil {
		var at item
		at, err = t.inspect(item{name: name, path: path.Join("/", target)})
		link.kind = at.kind
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // dangling, which is as good as any link
	}
	return link, err
}

// dereference follows the links that an item itself is, as the library does: ".." in one goes up from the name that led
// there, and not from where that name's own directory is.
func (t *Transfer) dereference(name string) (item, error) {
	from := t.options.From
	i := item{name: name, path: name}
	for range 16 {
		info, err := from.Lstat(i.path)
		if err != nil {
			return item{}, fmt.Errorf("%s leads nowhere: %w", name, err)
		}
		if info.Mode.Type() != fs.ModeSymlink {
			return t.inspect(i)
		}
		if path.IsAbs(info.Link) {
			i.path = path.Clean(info.Link)
		} else {
			i.path = path.Join(path.Dir(i.path), info.Link)
		}
	}
	return item{}, named(name, unix.ELOOP)
}

func (t *Transfer) inspect(i item) (item, error) {
	parent, base := path.Split(i.path)
	dir, err := t.options.From.OpenDir(parent)
	if err != nil {
		return item{}, err
	}
	defer dir.Close()
	if base == "" {
		i.st, err = dir.Stat()
	} else {
		i.st, err = dir.Lstat(base)
	}
	if err != nil {
		return item{}, named(i.name, err)
	}
	i.kind = i.st.Mode & unix.S_IFMT
	if i.isRegular() && t.options.Archive != nil && t.options.Archive(i.path) {
		return item{}, ErrNotCovered
	}
	return i, nil
}
