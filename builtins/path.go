package builtins

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/script"
)

var pathVerb = &verb{
	name:    "path",
	summary: "names a file or directory of the host",
	doc: `A relative path starts at the entry script's directory (the current directory for "-" and "-c"); in a library, at
the library's own directory, so that a library can bring its files along. mount() gives paths below a container's root.

p / "name" joins, and ".." is taken out of the joined name as it stands: no join leads above the root of a mount, nor
does a link, when one of the methods below resolves the path. str(p) is the host's path, for messages and for host
commands, which follow links as the host does.`,
	params: []param{{name: "p", kind: aPath, required: true, doc: "the path"}},
	gives:  "a path",
	example: `p = path("/etc") / "hostname"
print(p.name, p.parent, p.exists())`,
	pure: true,
	do: func(c *call) (starlark.Value, error) {
		if p, ok := c.values["p"].(*pathValue); ok {
			return p, nil
		}
		text := c.text("p")
		if text == "" {
			return nil, c.wrong("p", "is empty")
		}
		return c.session.hostPath(script.Dir(c.thread), text), nil
	},
}

// pathValue is a place in a tree: the host's, or a mounted container's.
type pathValue struct {
	session   *Session
	container *engine.Container // nil for the host
	root      string            // where the container is mounted; "/" for the host
	name      string            // slash separated, clean, absolute: the root is "/"
}

// hostPath returns the path that text means for the host, relative to dir. A path that leads below a mounted
// container's root is one of that container, so that it resolves inside, however it was written.
func (s *Session) hostPath(dir, text string) *pathValue {
	if !filepath.IsAbs(text) {
		text = filepath.Join(dir, text)
	}
	text = filepath.Clean(text)
	if s.engine == nil {
		return &pathValue{s, nil, "/", text} // nothing is mounted yet
	}
	if c := s.engine.MountedAt(text); c != nil {
		name, err := filepath.Rel(c.Root(), text)
		if err == nil {
			return &pathValue{s, c, c.Root(), path.Join("/", name)}
		}
	}
	return &pathValue{s, nil, "/", text}
}

// place returns a path argument; strings are relative to the run's directory.
func (c *call) place(value starlark.Value) *pathValue {
	if p, ok := value.(*pathValue); ok {
		return p
	}
	text, _ := starlark.AsString(value)
	return c.session.hostPath(c.session.options.Dir, text)
}

// files returns the tree the path is in. It fails when the mount was released.
func (p *pathValue) files() (*rootfs.FS, error) {
	if p.container == nil {
		return p.session.host, nil
	}
	files, err := p.container.Files()
	if err != nil {
		return nil, err
	}
	if files == nil {
		return nil, failure.New("path", p.host(), "lies below a mount that was released").
			WithHint("mount the container again: the path stays the same.")
	}
	return files, nil
}

func (p *pathValue) host() string { return filepath.Join(p.root, p.name) }

func (p *pathValue) join(name string) *pathValue {
	joined := *p
	joined.name = path.Join(p.name, name) // absolute and clean, so that ".." ends at the root
	return &joined
}

func (p *pathValue) String() string        { return p.host() }
func (p *pathValue) Type() string          { return "path" }
func (p *pathValue) Freeze()               {}
func (p *pathValue) Truth() starlark.Bool  { return true }
func (p *pathValue) Hash() (uint32, error) { return hash(p.host()), nil }

// CompareSameType orders paths by the host's path.
func (p *pathValue) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	order := strings.Compare(p.host(), y.(*pathValue).host())
	switch op {
	case syntax.EQL:
		return order == 0, nil
	case syntax.NEQ:
		return order != 0, nil
	case syntax.LT:
		return order < 0, nil
	case syntax.LE:
		return order <= 0, nil
	case syntax.GT:
		return order > 0, nil
	case syntax.GE:
		return order >= 0, nil
	}
	return false, fmt.Errorf("paths have no operator %s", op)
}

// Binary joins: path / "name".
func (p *pathValue) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	name, ok := starlark.AsString(y)
	if op != syntax.SLASH || side != starlark.Left || !ok {
		return nil, nil // the interpreter says what is wrong
	}
	return p.join(name), nil
}

// properties are the attributes of a path that are no methods.
var properties = map[string]func(p *pathValue) starlark.Value{
	"name":   func(p *pathValue) starlark.Value { return starlark.String(path.Base(p.name)) },
	"suffix": func(p *pathValue) starlark.Value { return starlark.String(path.Ext(p.name)) },
	"stem": func(p *pathValue) starlark.Value {
		return starlark.String(strings.TrimSuffix(path.Base(p.name), path.Ext(p.name)))
	},
	"parent": func(p *pathValue) starlark.Value { return p.join("..") },
}

func (p *pathValue) AttrNames() []string {
	names := make([]string, 0, len(properties)+len(pathMethods))
	for name := range properties {
		names = append(names, name)
	}
	for _, m := range pathMethods {
		names = append(names, strings.TrimPrefix(m.name, "path."))
	}
	return names
}

func (p *pathValue) Attr(name string) (starlark.Value, error) {
	if property, ok := properties[name]; ok {
		return property(p), nil
	}
	for _, m := range pathMethods {
		if m.name == "path."+name {
			method := starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin,
				args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
				return m.invoke(p.session, thread, p, args, kwargs)
			})
			return script.Guard(method).BindReceiver(p), nil
		}
	}
	return nil, noAttr(p, name)
}
