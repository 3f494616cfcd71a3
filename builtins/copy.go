package builtins

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

const copyDoc = `The destination is a file's new name, or a directory when it ends in "/", is one already, or several things are
copied; missing directories are made. What a directory holds is copied, not the directory itself. A source below a mount
resolves inside that mount and keeps its owners, as does one of from_; all other files become root's unless chown says otherwise.

What is copied replaces what has its name, a whole directory too; only directories merge. A link that is named or matches
is followed, those inside a directory are copied as links. Permissions, times (to the second), hard links, holes and the
extended attributes user.* and security.capability come along; sockets in a directory don't, nor do devices, which only
root outside of user namespaces can make.

With contextdir no source lies outside of that directory, and no link in it leads out: an absolute one starts at the
directory, ".." ends there. Patterns to exclude count from it; without it they count from the root of the host, of the mount
or of from_.

A source can be a file's URL (https://host/name) or a git repository: a URL that ends in ".git", git://…, ssh://…,
user@host:path.git, or "git+" before any of git's URLs or a path. Behind "#" come a branch, a tag or a commit, and behind
":" a directory of the repository: https://host/app.git#v1:src. A file from a URL gets the permissions 0600, and the time the
server says; it isn't unpacked. A repository is copied with its .git, unless a directory of it is named or .git is excluded.
User names and passwords in URLs never show.`

var copyParams = slices.Concat([]param{ctrParam,
	{name: "src", kind: paths, doc: "what is copied; strings may hold wildcards (* ? []); not with contents"},
	{name: "dest", kind: aPath, fallback: `""`,
		doc: "where to, in the container; relative to its working directory, or a path below its own mount"},
	{name: "contents", kind: kind{"a string or bytes", either(isString, is[starlark.Bytes])}, keyword: true,
		doc: "what a file is to hold, instead of src; dest is its name, 0644 are its permissions"},
	{name: "from_", kind: kind{"a container, an image, or the name of one", inspected.takes}, keyword: true,
		doc: "the container or image that src is in, seen from its root; an image that isn't in the store is fetched"},
	{name: "contextdir", kind: aPath, keyword: true, doc: "the directory that src is relative to, and can't leave; with from_, one in there"},
	{name: "ignorefile", kind: aPath, keyword: true,
		doc: "file of patterns to exclude, with contextdir; that directory's .containerignore or .dockerignore"},
	{name: "exclude", kind: texts, keyword: true, doc: `patterns of what is left out, as in .containerignore: "**/*.o", "!keep.o"`},
	{name: "chown", kind: aString, keyword: true, doc: `"user[:group]", names in the container or numbers`},
	{name: "chmod", kind: kind{"a string, or a whole number", either(isString, is[starlark.Int])}, keyword: true,
		doc: `permissions as chmod has them, "0755", 0o755 or "u=rwX,go=rX", without setuid and its like; the source's own`},
	{name: "timestamp", kind: aTime, keyword: true,
		doc: "the time of last change of all that is copied; the source's own"},
	{name: "checksum", kind: aString, keyword: true,
		doc: `what a file from a URL has to have for a digest, "sha256:…"; nothing is copied if it hasn't`},
	{name: "no_follow_symlinks", kind: aBool, keyword: true, fallback: "False", doc: "copy a link that is named as a link"},
	{name: "allow_wildcard", kind: aBool, keyword: true, fallback: "True", doc: "take * ? [] in src for wildcards; if not, they are an error"},
	{name: "allow_empty_wildcard", kind: aBool, keyword: true, fallback: "False", doc: "let wildcards match nothing"},
	{name: "link", kind: aBool, keyword: true, fallback: "False",
		doc: "copy into a layer of its own, which doesn't depend on those below, and which only a commit puts on top of them"},
	historyParam,
	{name: "quiet", kind: aBool, keyword: true, fallback: "False", doc: "don't show the step"},
	decryptionKey,
	{name: "remove_signatures", kind: aBool, keyword: true, fallback: "False",
		doc: "don't store the signatures of an image that is fetched for from_"},
}, accessParams)

// parentsParam is an option of copy only, as it is with buildah and in Containerfiles.
var parentsParam = param{name: "parents", kind: aBool, keyword: true, fallback: "False",
	doc: `keep the directories above each source, from the context or root on, or those behind "/./" in it`}

var copyVerb = &verb{
	name:    "copy",
	summary: "copies files and directories into a container",
	doc:     copyDoc,
	params:  slices.Concat(copyParams, []param{parentsParam}),
	example: `copy(ctr, "/etc/os-release", "/srv/", chmod = "0644", chown = "app:app")
copy(ctr, contents = "welcome\n", dest = "/etc/motd", timestamp = 0)`,
	more: []string{
		`path("web/static").mkdir(parents = True)
path("web/static/index.html").write("hello\n")
path("web/notes.txt").write("not for the image\n")
path("web.ignore").write("*.txt\n")
copy(ctr, ".", "/srv/www", contextdir = "web", ignorefile = "web.ignore", exclude = ["**/*.map"], chmod = "u=rwX,go=rX")
copy(ctr, "static/*.html", "/srv/kept/", contextdir = "web", parents = True)
copy(ctr, "*.css", "/srv/www/", contextdir = "web", allow_empty_wildcard = True)
copy(ctr, "static/index.html", "/srv/", contextdir = "web", allow_wildcard = False, quiet = True)`,
		`other = from_("scratch")
copy(other, "etc/passwd", "/etc/", from_ = ctr, add_history = True)
image = commit(other, "dir:example-copy")
copy(ctr, "/etc/passwd", "/srv/", from_ = "dir:example-copy", retry = 1, retry_delay = "1s",
    decryption_key = [], remove_signatures = True)`,
		`path("current").symlink("release-7")
copy(ctr, "current", "/srv/current", no_follow_symlinks = True)
copy(ctr, contents = "on top of any base\n", dest = "/srv/linked.txt", link = True)`,
		`# from a server or registry that is named on the command line: rlbuild script.star mirror=https://…
mirror = arg("mirror", default = "")
if mirror:
    copy(ctr, mirror + "/app.conf", "/etc/", checksum = arg("sum"), cert_dir = "certs", tls_verify = True)
    copy(ctr, "usr/bin/app", "/bin/", from_ = arg("image"), authfile = "auth.json", creds = arg("creds"))`,
	},
	do: func(c *call) (starlark.Value, error) { return nil, c.copy(false) },
}

var addVerb = &verb{
	name:    "add",
	summary: "copies as copy does, and unpacks tar archives of the host on the way, compressed ones too",
	doc:     copyDoc,
	params:  copyParams,
	example: `root = mount(ctr)
host(["tar", "-C", "/etc", "-cf", root / "tmp/etc.tar", "os-release"])
add(ctr, root / "tmp/etc.tar", "/srv/", chown = "app", add_history = True)`,
	more: []string{
		`host(["tar", "-C", "/etc", "-czf", "etc.tar.gz", "os-release"])
path("skip").write("*.txt\n")
add(ctr, "etc.tar.gz", "/srv/", contextdir = ".", ignorefile = "skip", exclude = ["**/*.o"], timestamp = 0, quiet = True)
add(ctr, "*.tar.gz", "/opt/", contextdir = ".", link = True, no_follow_symlinks = True)
add(ctr, "*.zip", "/srv/", allow_empty_wildcard = True)
add(ctr, "etc.tar.gz", "/srv/", allow_wildcard = False, chmod = 0o644)
add(ctr, contents = b"bytes", dest = "/srv/bytes")
commit(ctr, "dir:example-add")
add(from_("scratch"), "/etc/passwd", "/etc/", from_ = "dir:example-add", decryption_key = [], remove_signatures = True)`,
		`# from a server, a repository or a registry that is named on the command line: rlbuild script.star mirror=https://…
mirror = arg("mirror", default = "")
if mirror:
    add(ctr, mirror + "/app.conf", "/etc/", checksum = arg("sum"), cert_dir = "certs", tls_verify = True)
    add(ctr, mirror + "/app.git#v1:src", "/usr/src/app", exclude = ["**/*_test.go"], retry = 0, retry_delay = 1)
    add(ctr, "usr/share/app.tar", "/", from_ = arg("image"), authfile = "auth.json", creds = arg("creds"))`,
	},
	do: func(c *call) (starlark.Value, error) { return nil, c.copy(true) },
}

func (c *call) copy(extract bool) error {
	container := c.container()
	access, err := c.access()
	if err != nil {
		return err
	}
	o := engine.CopyOptions{
		Dest:          c.text("dest"),
		Chown:         c.text("chown"),
		Chmod:         c.text("chmod"),
		Exclude:       c.texts("exclude"),
		Checksum:      c.text("checksum"),
		Parents:       c.flag("parents", false),
		NoFollow:      c.flag("no_follow_symlinks", false),
		NoWildcards:   !c.flag("allow_wildcard", true),
		EmptyWildcard: c.flag("allow_empty_wildcard", false),
		Link:          c.flag("link", false),
		Extract:       extract,
		History:       c.history(),
		Quiet:         c.flag("quiet", false),
		Access:        access,
	}
	if dest, ok := c.values["dest"].(*pathValue); ok {
		if dest.container != container {
			return c.wrong("dest", "%s lies in another tree than %s", dest, container.Name())
		}
		o.Dest = dest.name
	}
	if bits, ok := c.values["chmod"].(starlark.Int); ok {
		n, err := starlark.AsInt32(bits)
		if err != nil || n < 0 || n > 0o7777 {
			return c.wrong("chmod", "got %s, want permissions up to 0o7777", bits)
		}
		o.Chmod = fmt.Sprintf("%o", n)
	}
	if o.Timestamp, err = c.time("timestamp"); err != nil {
		return err
	}
	if o.From, err = c.copyFrom(); err != nil {
		return err
	}
	if o.From != nil {
		o.From.RemoveSignatures = c.flag("remove_signatures", false)
		if o.From.DecryptionKeys, err = c.decryptionKeys(); err != nil {
			return err
		}
	}
	if o.Context, o.IgnoreFile, err = c.copyContext(o.From); err != nil {
		return err
	}
	if err := c.copySources(&o); err != nil {
		return err
	}
	return container.Copy(c.ctx(), o)
}

// copyFrom returns the argument "from_", or nil.
func (c *call) copyFrom() (*engine.CopyFrom, error) {
	switch v := c.values["from_"].(type) {
	case *containerValue:
		return &engine.CopyFrom{Container: v.container}, nil
	case *imageValue:
		id, err := c.storedID("from_", v)
		return &engine.CopyFrom{Name: id}, err
	case starlark.String:
		return &engine.CopyFrom{Name: string(v)}, nil
	}
	return nil, nil
}

// copyContext returns the arguments "contextdir" and "ignorefile", each nil if it wasn't given.
func (c *call) copyContext(from *engine.CopyFrom) (dir, ignore *engine.Source, err error) {
	if value, given := c.values["contextdir"]; given && from != nil {
		name, err := c.inFrom(value, from)
		if err != nil {
			return nil, nil, err
		}
		dir = &engine.Source{Path: name}
	} else if given {
		if dir, err = c.copyPlace(value); err != nil {
			return nil, nil, err
		}
	}
	if value, given := c.values["ignorefile"]; given {
		ignore, err = c.copyPlace(value)
	}
	return dir, ignore, err
}

// copySources enters what is copied into the options.
func (c *call) copySources(o *engine.CopyOptions) error {
	if text, given := c.values["contents"]; given {
		if c.given("src") {
			return c.wrong("contents", "is instead of src: what is copied can't come from both")
		}
		if o.Dest == "" {
			return c.bad("lacks dest").WithHint("dest: the name of the file that holds the contents.")
		}
		o.Contents = new(contentsOf(text))
		return nil
	}
	sources := oneOrMore(c.values["src"])
	if !c.given("src") {
		return c.bad("lacks src").WithHint("src: what is copied; or contents: what a file is to hold.")
	}
	if len(sources) == 0 {
		return c.wrong("src", "is an empty list")
	}
	for _, value := range sources {
		source, err := c.copySource(value, o)
		if err != nil {
			return err
		}
		o.Sources = append(o.Sources, *source)
	}
	return nil
}

func contentsOf(value starlark.Value) string {
	if b, ok := value.(starlark.Bytes); ok {
		return string(b)
	}
	text, _ := starlark.AsString(value)
	return text
}

func (c *call) copySource(value starlark.Value, o *engine.CopyOptions) (*engine.Source, error) {
	text, isText := starlark.AsString(value)
	switch {
	case isText && text == "":
		return nil, c.wrong("src", "is empty")
	case isText && engine.Remote(text):
		return &engine.Source{URL: text}, nil
	case o.From != nil:
		name, err := c.inFrom(value, o.From)
		return &engine.Source{Path: name}, err
	case o.Context != nil && isText && !filepath.IsAbs(text):
		return &engine.Source{Path: text}, nil
	}
	return c.copyPlace(value)
}

// inFrom returns the name that an argument has in the container or image that is copied from.
func (c *call) inFrom(value starlark.Value, from *engine.CopyFrom) (string, error) {
	p, ok := value.(*pathValue)
	if !ok {
		return hostString(value), nil
	}
	if from.Container == nil || p.container != from.Container {
		return "", c.wrong("from_", "%s lies in another tree", p).WithHint("name it as a string, as seen from the root of from_.")
	}
	return p.name, nil
}

// copyPlace is sourceOf for what is copied. "/./", which a clean path has no room for, stays.
func (c *call) copyPlace(value starlark.Value) (*engine.Source, error) {
	text, _ := starlark.AsString(value)
	above, below, pivot := strings.Cut(text, "/./")
	if pivot {
		value = starlark.String(above + "/")
	}
	s, err := c.sourceOf(value)
	if err != nil {
		return nil, err
	}
	if pivot {
		s.Path += "/./" + below
	}
	return &s, nil
}
