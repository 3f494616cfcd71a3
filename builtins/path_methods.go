package builtins

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// readLimit bounds what read() brings into memory, bytes.
const readLimit = 64 << 20

var (
	content   = kind{"a string or bytes", either(isString, is[starlark.Bytes])}
	recursive = param{name: "recursive", kind: aBool, keyword: true, fallback: "False",
		doc: "with everything below a directory, links in it not followed"}
)

// pathMethods are the methods of a path, in the order in which help lists them.
var pathMethods = []*verb{
	method("read", "returns the content of a file", "a string", nil,
		`root = mount(ctr)
print((root / "etc/passwd").read().splitlines()[0])`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			data, err := files.ReadFile(name, readLimit)
			return starlark.String(data), err
		}),
	method("write", "writes a file, replacing what it held", "", []param{
		{name: "content", kind: content, required: true, doc: "what the file holds from then on"},
		{name: "mode", kind: anInt, keyword: true, doc: "permissions, as 0o644; a new file has 0o644, one that is there keeps its own"},
		{name: "append", kind: aBool, keyword: true, fallback: "False", doc: "add to the end instead"},
	}, `root = mount(ctr)
(root / "etc/motd").write("built without root\n", mode = 0o644)
(root / "etc/motd").write("and without a daemon\n", append = True)`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			how := rootfs.Write{Append: c.flag("append", false)}
			if c.given("mode") {
				mode, err := c.mode()
				if err != nil {
					return nil, err
				}
				how.Mode = &mode
			}
			data := []byte(c.text("content"))
			if b, ok := c.values["content"].(starlark.Bytes); ok {
				data = []byte(b)
			}
			return nil, files.WriteFile(name, data, how)
		}),
	method("exists", "tells whether something is there, at the end of all links", "a bool", nil,
		`root = mount(ctr)
print((root / "bin/sh").exists())`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			return isThere(files.Stat(name))
		}),
	method("is_dir", "tells whether it leads to a directory", "a bool", nil,
		`root = mount(ctr)
print((root / "etc").is_dir())`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			info, err := files.Stat(name)
			there, err := isThere(info, err)
			return there && starlark.Bool(info.Mode.IsDir()), err
		}),
	method("is_file", "tells whether it leads to a regular file", "a bool", nil,
		`root = mount(ctr)
print((root / "etc/passwd").is_file())`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			info, err := files.Stat(name)
			there, err := isThere(info, err)
			return there && starlark.Bool(info.Mode.IsRegular()), err
		}),
	method("is_link", "tells whether it is a symbolic link itself", "a bool", nil,
		`root = mount(ctr)
print((root / "etc").is_link())`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			info, err := files.Lstat(name)
			there, err := isThere(info, err)
			return there && starlark.Bool(info.Mode&fs.ModeSymlink != 0), err
		}),
	method("list", "returns what is in a directory, sorted", "a list of paths", nil,
		`root = mount(ctr)
print([p.name for p in root.list()])`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			names, err := files.ReadDir(name)
			return c.receiver.(*pathValue).below(names), err
		}),
	method("glob", "returns what below a directory matches a pattern, sorted", "a list of paths", []param{
		{name: "pattern", kind: aString, required: true, doc: "* ? [] {a,b}, and ** for any depth"},
	}, `root = mount(ctr)
print([p.name for p in root.glob("etc/*")])`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			names, err := files.Glob(escapeGlob(name) + "/" + c.text("pattern"))
			root := *c.receiver.(*pathValue)
			root.name = "/"
			return root.below(names), err
		}),
	method("mkdir", "makes a directory", "", []param{
		{name: "mode", kind: anInt, keyword: true, fallback: "0o755", doc: "permissions"},
		{name: "parents", kind: aBool, keyword: true, fallback: "False",
			doc: "make what is missing on the way as well, and take a directory that is there as it is"},
	}, `root = mount(ctr)
(root / "srv/data").mkdir(mode = 0o750, parents = True)`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			mode := fs.FileMode(0o755)
			if c.given("mode") {
				var err error
				if mode, err = c.mode(); err != nil {
					return nil, err
				}
			}
			return nil, files.Mkdir(name, mode, c.flag("parents", false))
		}),
	method("remove", "deletes a file, a link or an empty directory", "", []param{
		recursive,
		{name: "missing_ok", kind: aBool, keyword: true, fallback: "False", doc: "nothing there is no error"},
	}, `root = mount(ctr)
(root / "tmp/x").write("x")
(root / "tmp/x").remove()
(root / "var/cache").remove(recursive = True, missing_ok = True)`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			err := files.Remove(name, c.flag("recursive", false))
			if errors.Is(err, fs.ErrNotExist) && c.flag("missing_ok", false) {
				err = nil
			}
			return nil, err
		}),
	method("rename", "gives a file, link or directory another name in the same tree", "the new path", []param{
		{name: "to", kind: aPath, required: true, doc: "the new name: a path in the same tree, or a string, in the same directory"},
	}, `root = mount(ctr)
(root / "tmp/a").write("x")
(root / "tmp/a").rename("b")`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			from := c.receiver.(*pathValue)
			to, ok := c.values["to"].(*pathValue)
			if !ok {
				to = from.join("..").join(c.text("to"))
			}
			if to.root != from.root {
				return nil, c.wrong("to", "%s lies in another tree than %s", to.host(), from.host()).
					WithHint("copy the file, then remove it.")
			}
			return to, files.Rename(name, to.name)
		}),
	method("chmod", "sets permissions", "", []param{
		{name: "mode", kind: anInt, required: true, doc: "permissions, as 0o4755"},
	}, `root = mount(ctr)
(root / "tmp").chmod(0o1777)`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			mode, err := c.mode()
			if err != nil {
				return nil, err
			}
			return nil, files.Chmod(name, mode)
		}),
	method("chown", "sets the owner", "", []param{
		{name: "user", kind: owner, doc: `a name in the tree's own /etc/passwd, or a number; "user:group" names both`},
		{name: "group", kind: owner, doc: "a name in the tree's own /etc/group, or a number"},
		recursive,
	}, `root = mount(ctr)
(root / "tmp/x").write("x")
(root / "tmp/x").chown(0, 0)
(root / "root").chown("root:root", recursive = True)`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			user, group := c.owner("user"), c.owner("group")
			if before, after, both := strings.Cut(user, ":"); both && group == "" {
				user, group = before, after
			}
			uid, gid, err := files.LookupOwner(user, group)
			if err != nil {
				return nil, err
			}
			return nil, files.Chown(name, uid, gid, c.flag("recursive", false))
		}),
	method("symlink", "makes a symbolic link here", "", []param{
		{name: "target", kind: aString, required: true,
			doc: "what the link holds, as it is: an absolute one means the container's own root"},
	}, `root = mount(ctr)
(root / "etc/localtime").remove(missing_ok = True)
(root / "etc/localtime").symlink("/usr/share/zoneinfo/UTC")`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			return nil, files.Symlink(c.text("target"), name)
		}),
	method("readlink", "returns what a symbolic link holds", "a string", nil,
		`root = mount(ctr)
(root / "tmp/l").symlink("x")
print((root / "tmp/l").readlink())`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			target, err := files.Readlink(name)
			return starlark.String(target), err
		}),
	method("stat", "describes what it leads to", "a struct with type, mode, uid, gid, size and mtime", []param{
		{name: "follow", kind: aBool, keyword: true, fallback: "True", doc: "False describes a link itself"},
	}, `root = mount(ctr)
s = (root / "etc/passwd").stat()
print(s.type, s.size, "%o" % s.mode)
print((root / "bin/sh").stat(follow = False).type)`,
		func(c *call, files *rootfs.FS, name string) (starlark.Value, error) {
			stat := files.Stat
			if !c.flag("follow", true) {
				stat = files.Lstat
			}
			info, err := stat(name)
			if err != nil {
				return nil, err
			}
			return describeFile(info), nil
		}),
}

var owner = kind{"a name or a number", either(isString, is[starlark.Int])}

// method returns a method of paths. do gets the tree and the name in it.
func method(name, summary, gives string, params []param, example string,
	do func(c *call, files *rootfs.FS, name string) (starlark.Value, error)) *verb {
	return &verb{name: "path." + name, summary: summary, gives: gives, params: params, example: example,
		do: func(c *call) (starlark.Value, error) {
			p := c.receiver.(*pathValue)
			files, err := p.files()
			if err != nil {
				return nil, err
			}
			value, err := do(c, files.Until(c.ctx()), p.name)
			if err != nil {
				return nil, p.explain(name, err)
			}
			return value, nil
		}}
}

// explain names the path as the host has it, and keeps what the file operation said.
func (p *pathValue) explain(verb string, err error) error {
	var known *failure.Error
	if errors.As(err, &known) {
		return known
	}
	e := engine.ExplainPath("path."+verb, p.host(), p.container == nil, err)
	switch {
	case errors.Is(err, fs.ErrNotExist) && verb == "write":
		e.Hint = "make the directory first: path.mkdir(parents = True)"
	case e.Hint != "":
	case errors.Is(err, fs.ErrPermission) && p.container == nil:
		e.Hint = "inside the namespace you are root over your own files only, not over those of other users."
	}
	return e
}

// below returns names in the tree as paths; they are relative to p.
func (p *pathValue) below(names []string) *starlark.List {
	items := make([]starlark.Value, len(names))
	for i, name := range names {
		items[i] = p.join(name)
	}
	return starlark.NewList(items)
}

func isThere(_ rootfs.Info, err error) (starlark.Bool, error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil, err
}

// escapeGlob makes the characters of a name that mean something in a pattern mean themselves.
func escapeGlob(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "{", `\{`).Replace(name)
}

// mode returns the argument of that name.
func (c *call) mode() (fs.FileMode, error) {
	mode, ok := c.values["mode"].(starlark.Int).Int64()
	if !ok || mode < 0 || mode > 0o7777 {
		return 0, c.wrong("mode", "%s is no set of permissions", c.values["mode"]).WithHint("write it in octal: 0o644")
	}
	return fs.FileMode(mode), nil
}

func (c *call) owner(name string) string {
	if n, ok := c.values[name].(starlark.Int); ok {
		return n.String()
	}
	return c.text(name)
}

func describeFile(info rootfs.Info) starlark.Value {
	kinds := map[fs.FileMode]string{0: "file", fs.ModeDir: "dir", fs.ModeSymlink: "link", fs.ModeNamedPipe: "fifo",
		fs.ModeSocket: "socket", fs.ModeDevice: "block", fs.ModeDevice | fs.ModeCharDevice: "char"}
	return starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
		"type":  starlark.String(kinds[info.Mode.Type()]),
		"mode":  starlark.MakeInt(int(info.Bits())),
		"uid":   starlark.MakeInt(info.UID),
		"gid":   starlark.MakeInt(info.GID),
		"size":  starlark.MakeInt64(info.Size),
		"mtime": starlark.MakeInt64(info.ModTime.Unix()),
	})
}
