package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/go-digest"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/transfer"
)

// Source is what Copy copies: a path that is resolved below a root, so that no link leads out of it, or a URL.
type Source struct {
	Root string // "/" for the host's files; "" where Path counts from CopyOptions.From or CopyOptions.Context
	Path string // below Root; may hold wildcards (* ? [])
	URL  string // of a file or a git repository, instead of the two above; see Remote
}

// String is how messages name the source.
func (s Source) String() string {
	if s.URL != "" {
		return shownURL(s.URL)
	}
	return s.Path
}

// CopyOptions say what is copied where.
type CopyOptions struct {
	Sources  []Source  // those with the same Root, if there is neither From nor Context; none with Contents
	Contents *string   // what a file is to hold, instead of Sources
	Dest     string    // in the container; relative to its working directory; a trailing "/" means a directory
	From     *CopyFrom // whose root Sources count from; nil for the host
	Context  *Source   // a directory that no source, nor a link on the way to one, leads out of; nil for the root

	Chown      string     // "user[:group]", names or numbers, looked up in the container; "" is 0:0 for host files
	Chmod      string     // as chmod(1) has it; "" keeps
	Timestamp  *time.Time // of last change; nil keeps
	Exclude    []string   // patterns of a .containerignore, for names from Context, or else from the root
	IgnoreFile *Source    // a file of such patterns; nil is that of Context, if it has one
	Checksum   string     // "algorithm:hex" of what the URLs hold; "" for whatever they hold

	Parents       bool // keep the directories above each source, or those after "/./" in it
	NoFollow      bool // copy the links that Sources name, not what they lead to
	NoWildcards   bool // a source with wildcards is an error
	EmptyWildcard bool // wildcards may match nothing
	Link          bool // into a layer of its own, which only a commit puts on top of the container's
	Extract       bool // unpack local archives, as add does

	History bool // enter it into the image's history
	Quiet   bool // don't show the step
	Access  Access
}

// Copy copies files into the container, owners kept if they come from another container. What the copier of package
// transfer doesn't cover the library does, with the same outcome: see copyByLibrary.
func (c *Container) Copy(ctx context.Context, o CopyOptions) error {
	verb := "copy"
	if o.Extract {
		verb = "add"
	}
	if err := c.alive(verb); err != nil {
		return err
	}
	what := "contents"
	if o.Contents == nil {
		if len(o.Sources) == 0 {
			return failure.New(verb, o.Dest, "nothing is named that could be copied")
		}
		what = o.Sources[0].String()
	}
	if err := o.check(verb); err != nil {
		return err
	}
	if !o.Quiet {
		c.run.step(fmt.Sprintf("%s %s to %s", verb, what, o.Dest))
	}
	if err := c.run.tidy(); err != nil {
		return err
	}
	if _, err := c.Mount(); err != nil {
		return err
	}
	if err := c.copyAll(ctx, o); err != nil {
		subject := fmt.Sprintf("%s to %s", what, o.Dest)
		if k := o.cause(err); k != nil {
			return k.explain(verb, subject, err)
		}
		return explain(verb, subject, err)
	}
	return nil
}

// check refuses options that don't go together.
func (o *CopyOptions) check(verb string) error {
	remote := func(s Source) bool { return s.URL != "" }
	bad := func(option, format string, args ...any) *failure.Error {
		return failure.New(verb+":", option, format, args...)
	}
	for _, s := range o.Sources {
		if o.From == nil && o.Context == nil && !remote(s) && s.Root != o.root() {
			return failure.New(verb, s.Path, "sources lie below different mounts").WithHint("copy from each in its own call.")
		}
		if remote(s) && o.From != nil {
			return bad("from_", "%s doesn't lie in a container or image", s).WithHint("copy it in a call of its own.")
		}
		if o.Checksum != "" && (!remote(s) || isGit(s.URL)) {
			return bad("checksum", "is for files from http:// and https://, and %s is none", s).
				WithHint("name a commit to be sure of a git repository: repo.git#COMMIT; host files have path(…) and host commands.")
		}
		if o.Access.CertDir != "" && isGit(s.URL) {
			return bad("cert_dir", "isn't what git reads").
				WithHint("name the file with the server's authority in git's own configuration: git config --global http.sslCAInfo FILE")
		}
	}
	if o.Contents != nil && (o.From != nil || o.Context != nil || o.Checksum != "") {
		return bad("contents", "is copied from no place, so it goes with neither from_, contextdir nor checksum")
	}
	if o.IgnoreFile != nil && o.Context == nil {
		return bad("ignorefile", "needs contextdir, which its patterns count from")
	}
	if o.Checksum != "" {
		if _, err := digest.Parse(o.Checksum); err != nil {
			return bad("checksum", "%q is no digest: %w", o.Checksum, err).WithHint(`it is written "sha256:" and 64 hexadecimal digits.`)
		}
	}
	return nil
}

// root is the root of the sources' paths.
func (o *CopyOptions) root() string {
	for _, s := range o.Sources {
		if s.URL == "" {
			return s.Root
		}
	}
	return "/"
}

// cause says what keeps this process from the host's files that were to be copied.
func (o *CopyOptions) cause(err error) *cause {
	if o.From != nil || o.root() != "/" || o.Context != nil && o.Context.Root != "/" {
		return nil
	}
	var at *fs.PathError
	if o.Context == nil && errors.As(err, &at) && errors.Is(err, fs.ErrPermission) {
		if k := pathCause(at.Path, reach.Read, err); k != nil {
			return k
		}
	}
	for _, s := range o.Sources {
		if s.URL != "" {
			continue
		}
		name := s.Path
		if o.Context != nil && !path.IsAbs(name) {
			name = path.Join("/", o.Context.Path, name)
		}
		want := uint32(reach.Read)
		if before, _, wild := strings.Cut(name, "*"); wild { // what nothing matches may lie in a directory that can't be read
			name, want = path.Dir(before+"x"), reach.Read|reach.Search
		}
		if k := pathCause(name, want, err); k != nil {
			return k
		}
	}
	return nil
}

// copyAll finds what is to be copied, looks at all of it, and copies it.
func (c *Container) copyAll(ctx context.Context, o CopyOptions) (err error) {
	// The library digests what it copies; what it doesn't copy is digested here if the history is to name it.
	c.builder.ContentDigester.Restart()
	g, err := c.gather(ctx, o)
	defer func() { err = errors.Join(err, g.close()) }()
	if err != nil {
		return err
	}
	o.Exclude = append(g.ignored, o.Exclude...)
	work := make([]*transfer.Transfer, len(g.batches))
	for i, b := range g.batches {
		work[i], err = c.prepare(b, o)
		if err != nil && !errors.Is(err, transfer.ErrNotCovered) {
			return b.tree.about(err)
		}
	}
	for i, b := range g.batches {
		if work[i] == nil {
			err = c.copyByLibrary(ctx, b, o)
		} else if err = work[i].Copy(ctx); err == nil && o.History {
			err = c.digest(work[i].Target())
		}
		if err != nil {
			return b.tree.about(err)
		}
	}
	if o.History {
		c.noteCopy(o.Extract)
	}
	return nil
}

// prepare returns the copier of a batch, or transfer.ErrNotCovered where only the library has what the options say.
func (c *Container) prepare(b batch, o CopyOptions) (*transfer.Transfer, error) {
	t := transfer.Options{
		From: b.tree.files, To: c.files, Name: b.name, Exclude: o.Exclude, Chmod: o.Chmod, Timestamp: o.Timestamp,
		NoFollow: o.NoFollow, NoWildcards: o.NoWildcards, EmptyWildcard: o.EmptyWildcard,
		// As kernels have it: nobody in a user namespace can make a device, whatever the capabilities.
		Devices: !userns.RunningInUserNS(),
	}
	t.Dest, t.Directory = c.destination(o.Dest)
	t.Directory = t.Directory || b.directory || len(o.Sources) > 1
	if b.single {
		if err := c.needName(b, t.Dest, t.Directory); err != nil {
			return nil, err
		}
		t.Exclude = nil // patterns are for what is found, not for what is named
	} else if o.History {
		return nil, transfer.ErrNotCovered // the library digests what it copies as it passes it through an archive
	}
	if o.Link || o.Parents || c.mapped() || b.tree.ids != nil {
		return nil, transfer.ErrNotCovered
	}
	for _, s := range b.sources {
		t.Sources = append(t.Sources, path.Join("/", s.Path))
	}
	if !b.tree.owned {
		t.Owner = &transfer.Owner{}
	}
	if o.Chown != "" {
		var err error
		if t.Owner, err = copyOwner(c.files, o.Chown); err != nil {
			return nil, err
		}
	}
	if o.Extract && !b.single {
		t.Archive = func(name string) bool { return isArchive(b.tree.files, name) }
	}
	return transfer.New(t)
}

// mapped tells whether the container's files have owners of a map of its own, which only the library applies.
func (c *Container) mapped() bool { return len(c.builder.IDMappingOptions.UIDMap) > 0 }

// needName fails if the destination is a directory, and the one file of the batch has no name of its own.
func (c *Container) needName(b batch, dest string, directory bool) error {
	info, err := c.files.Stat(dest)
	if b.name == "" && (directory || err == nil && info.Mode.IsDir()) {
		return failure.New("dest:", dest, "is a directory, and what is copied has no name of its own").
			WithHint("give the file's whole name in dest.")
	}
	return nil
}

// destination returns where the path given is in the container, and whether it is written as a directory's.
func (c *Container) destination(dest string) (name string, directory bool) {
	directory = dest == "" || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.")
	workDir := c.builder.WorkDir()
	if !path.IsAbs(dest) {
		dest = path.Join("/"+workDir, dest)
	}
	name = path.Clean(dest)
	return name, directory || name == path.Clean(workDir)
}

// copyOwner returns who "user[:group]" is in the container. As with buildah, a number alone is the group's too.
func copyOwner(files *rootfs.FS, text string) (*transfer.Owner, error) {
	user, group, _ := strings.Cut(text, ":")
	if user == "" && group == "" {
		return nil, fmt.Errorf("chown %q names nobody", text)
	}
	if _, err := strconv.ParseUint(user, 10, 32); err == nil && group == "" {
		text = user + ":" + user
	}
	u, err := sandbox.LookupUser(files, text)
	if err != nil {
		return nil, fmt.Errorf("chown %q: %w", text, err)
	}
	return &transfer.Owner{UID: int(u.UID), GID: int(u.GID)}, nil
}
