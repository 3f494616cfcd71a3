package engine

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/store"
	"github.com/rlbuild/rlbuild/engine/transfer"
)

// copyCase is one copy that is done by the library and by package transfer. Paths in sources are below the fixture that
// fillSource makes; in Exclude, SRC stands for where that is, without its leading slash.
type copyCase struct {
	name     string
	sources  []string
	o        CopyOptions       // but for the sources
	dest     func(root string) // what the container holds before; nil is fillDest
	inside   bool              // the fixture is in a container, not on the host
	from     bool              // the same, named by CopyOptions.From
	context  string            // a directory of the fixture that sources are relative to, as it is to its root in From
	workdir  string
	library  bool // not covered by package transfer
	tolerant bool // package transfer may do what the library can't
}

func to(dest string) CopyOptions { return CopyOptions{Dest: dest} }

func noFollow(dest string) CopyOptions { return CopyOptions{Dest: dest, NoFollow: true} }

var then = new(time.Date(1999, 1, 2, 3, 4, 5, 0, time.UTC))

func excluding(patterns ...string) CopyOptions { return CopyOptions{Dest: "/x/", Exclude: patterns} }

var copyCases = []copyCase{
	{name: "file to new name", sources: []string{"a.txt"}, o: to("/new.txt")},
	{name: "file to directory by slash", sources: []string{"a.txt"}, o: to("/made/")},
	{name: "file to directory by slash-dot", sources: []string{"a.txt"}, o: to("/made/.")},
	{name: "file to existing directory", sources: []string{"a.txt"}, o: to("/dir")},
	{name: "file on file", sources: []string{"a.txt"}, o: to("/file")},
	{name: "file on link to file replaces the link", sources: []string{"a.txt"}, o: to("/filelink")},
	{name: "file on link to directory", sources: []string{"a.txt"}, o: to("/dirlink")},
	{name: "file on absolute link to directory", sources: []string{"a.txt"}, o: to("/absdirlink")},
	{name: "file on dangling link", sources: []string{"a.txt"}, o: to("/dangling")},
	{name: "file below dangling link", sources: []string{"a.txt"}, o: to("/dangling/sub/f")},
	{name: "file on pipe", sources: []string{"a.txt"}, o: to("/pipe")},
	{name: "file below file", sources: []string{"a.txt"}, o: to("/file/x/")},
	{name: "file as directory", sources: []string{"a.txt"}, o: to("/file/")},
	{name: "file on a link loop", sources: []string{"a.txt"}, o: to("/loop")},
	{name: "file to missing parents", sources: []string{"a.txt"}, o: to("/one/two/three")},
	{name: "file to link that leads out", sources: []string{"a.txt"}, o: to("/out/f")},
	{name: "file replaces directory of its name", sources: []string{"a.txt"}, o: to("/hold/")},
	{name: "relative destination", sources: []string{"a.txt"}, o: to("sub/f"), workdir: "/dir"},
	{name: "destination is the working directory", sources: []string{"a.txt"}, o: to("/work"), workdir: "/work"},
	{name: "dot destination", sources: []string{"a.txt"}, o: to("."), workdir: "/work"},
	{name: "no working directory", sources: []string{"a.txt"}, o: to("f")},
	{name: "dotdot destination", sources: []string{"a.txt"}, o: to("/dir/../../new")},
	{name: "several files", sources: []string{"a.txt", "b.txt"}, o: to("/many")},
	{name: "several onto file", sources: []string{"a.txt", "b.txt"}, o: to("/file")},
	{name: "directory and file", sources: []string{"tree", "a.txt"}, o: to("/many")},
	{name: "directory", sources: []string{"tree"}, o: to("/tree")},
	{name: "directory with slash", sources: []string{"tree/"}, o: to("/tree/")},
	{name: "directory with slash-dot", sources: []string{"tree/."}, o: to("/tree")},
	{name: "directory merged", sources: []string{"tree"}, o: to("/dir")},
	{name: "directory to root", sources: []string{"tree"}, o: to("/")},
	{name: "directory onto file", sources: []string{"tree"}, o: to("/file")},
	{name: "directory onto link to directory", sources: []string{"tree"}, o: to("/absdirlink")},
	{name: "directory over conflicts", sources: []string{"clash"}, o: to("/hold")},
	{name: "everything", sources: []string{"."}, o: to("/all")},
	{name: "empty directory", sources: []string{"empty"}, o: to("/e")},
	{name: "empty directory onto existing", sources: []string{"empty"}, o: to("/dir")},
	{name: "wildcard", sources: []string{"*.txt"}, o: to("/w/")},
	{name: "wildcard in the middle", sources: []string{"*/deep"}, o: to("/w/")},
	{name: "wildcard of one", sources: []string{"a.*"}, o: to("/one")},
	{name: "wildcard of several onto a name", sources: []string{"?.txt"}, o: to("/one")},
	{name: "wildcard class", sources: []string{"[ab].txt"}, o: to("/w")},
	{name: "wildcard of nothing", sources: []string{"*.none"}, o: to("/w/")},
	{name: "wildcard of nothing beside a file", sources: []string{"*.none", "a.txt"}, o: to("/w/")},
	{name: "broken wildcard", sources: []string{"[a"}, o: to("/w/")},
	{name: "wildcard of all kinds", sources: []string{"tree/*"}, o: to("/w/")},
	{name: "file with wildcards in its name", sources: []string{"odd"}, o: to("/w/")},
	{name: "file matched with wildcards in its name", sources: []string{"odd/*"}, o: to("/w/")},
	{name: "files and directories onto a name", sources: []string{"mix*"}, o: to("/one"), library: true},
	{name: "backslash", sources: []string{`a\.txt`}, o: to("/w/"), library: true},
	{name: "any depth", sources: []string{"**/c.txt"}, o: to("/w/"), library: true},
	{name: "wildcard destination", sources: []string{"a.txt"}, o: to("/d*r"), library: true},
	{name: "missing", sources: []string{"nowhere"}, o: to("/w/")},
	{name: "missing beside a file", sources: []string{"a.txt", "nowhere"}, o: to("/w/")},
	{name: "link to file", sources: []string{"tolink"}, o: to("/l")},
	{name: "link to directory", sources: []string{"todir"}, o: to("/l")},
	{name: "link below link to directory", sources: []string{"todir/up"}, o: to("/l")},
	{name: "dangling link", sources: []string{"nolink"}, o: to("/l")},
	{name: "link loop", sources: []string{"looplink"}, o: to("/l")},
	{name: "pipe", sources: []string{"fifo"}, o: to("/p/")},
	{name: "pipe to a name", sources: []string{"fifo"}, o: to("/p")},
	{name: "socket", sources: []string{"sock"}, o: to("/p/")},
	{name: "chown numbers", sources: []string{"tree"}, o: CopyOptions{Dest: "/x/y", Chown: "12:34"}},
	{name: "chown number", sources: []string{"tree"}, o: CopyOptions{Dest: "/x/y", Chown: "12"}},
	{name: "chown user", sources: []string{"tree"}, o: CopyOptions{Dest: "/x/y", Chown: "app"}},
	{name: "chown user and group", sources: []string{"tree"}, o: CopyOptions{Dest: "/x/y", Chown: "app:staff"}},
	{name: "chown number and group", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chown: "7:staff"}},
	{name: "chown user and number", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chown: "app:8"}},
	{name: "chown group", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chown: ":staff"}},
	{name: "chown group number", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chown: ":9"}},
	{name: "chown user and no group", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chown: "app:"}},
	{name: "chown nobody known", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chown: "ghost"}},
	{name: "chown group not known", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chown: "app:ghosts"}},
	{name: "chown colon", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chown: ":"}},
	{name: "chown unmapped", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chown: "3000000000"}},
	{name: "chmod", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chmod: "0640"}},
	{name: "chmod of a tree", sources: []string{"plain"}, o: CopyOptions{Dest: "/x/y", Chmod: "705"}},
	{name: "chmod with setuid", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chmod: "4755"}},
	{name: "chmod of setuid", sources: []string{"suid"}, o: CopyOptions{Dest: "/x/y", Chmod: "755"}},
	{name: "chmod too large", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chmod: "17777"}},
	{name: "chmod symbolic", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chmod: "u+x"}},
	{name: "chmod symbolic of a tree", sources: []string{"plain"}, o: CopyOptions{Dest: "/x/y", Chmod: "u=rwX,go=u-w"}},
	{name: "chmod with equals", sources: []string{"suid"}, o: CopyOptions{Dest: "/x/y", Chmod: "a=r"}},
	{name: "chmod with a set-user-ID bit", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chmod: "u+s,g=o"}, tolerant: true},
	{name: "chmod of a setuid file, symbolic", sources: []string{"suid"}, o: CopyOptions{Dest: "/x/y", Chmod: "go-r"}, tolerant: true},
	{name: "chmod nonsense", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chmod: "rwx"}},
	{name: "chmod with a comma at the end", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chmod: "u+x,"}},
	{name: "chmod no octal digit", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Chmod: "0798"}},
	{name: "chmod with attributes", sources: []string{"tree"}, o: CopyOptions{Dest: "/x/y", Chmod: "755"}, tolerant: true},
	{name: "exclude by name from the root", sources: []string{"tree"}, o: excluding("SRC/tree/c.txt")},
	{name: "exclude at any depth", sources: []string{"tree"}, o: excluding("**/c.txt")},
	{name: "exclude name alone", sources: []string{"tree"}, o: excluding("c.txt", "*.txt")},
	{name: "exclude directory", sources: []string{"tree"}, o: excluding("**/deep")},
	{name: "exclude directory but for", sources: []string{"tree"}, o: excluding("SRC/tree/deep", "!SRC/tree/deep/d.txt")},
	{name: "exclude all but for", sources: []string{"tree"}, o: excluding("SRC/tree", "!SRC/tree/deep/deeper")},
	{name: "exclude all but for, chowned", sources: []string{"tree"},
		o: CopyOptions{Dest: "/hold", Chown: "3:4", Exclude: []string{"SRC/tree/*", "!SRC/tree/deep/deeper/e.txt"}}},
	{name: "exclude with a near miss", sources: []string{"tree"}, o: excluding("SRC/tree/*", "!SRC/tree/deeper/e.txt")},
	{name: "exclude the source", sources: []string{"a.txt"}, o: excluding("**/a.txt")},
	{name: "exclude the source directory", sources: []string{"tree"}, o: excluding("**/tree")},
	{name: "exclude one of two", sources: []string{"?.txt"}, o: excluding("**/a.txt")},
	{name: "exclude a link's target", sources: []string{"tolink"}, o: excluding("**/a.txt")},
	{name: "exclude in wildcard of directories", sources: []string{"t*"}, o: excluding("**/*.txt", "!**/e.txt")},
	{name: "exclude a dangling link", sources: []string{"[nt]olink"}, o: excluding("**/nolink")},
	{name: "exclude nothing but a dangling link", sources: []string{"nolink"}, o: excluding("**/nolink")},
	{name: "exclude a link loop", sources: []string{"[lt]o*link"}, o: excluding("**/looplink")},
	{name: "exclude nonsense", sources: []string{"tree"}, o: excluding("[a")},
	{name: "exclude bang", sources: []string{"tree"}, o: excluding("!")},
	{name: "exclude blank", sources: []string{"tree"}, o: excluding("", " ", "#x")},
	{name: "from a container", sources: []string{"tree"}, o: to("/t"), inside: true},
	{name: "everything from a container", sources: []string{"/"}, o: to("/t"), inside: true},
	{name: "file from a container", sources: []string{"suid"}, o: to("/t"), inside: true},
	{name: "chowned from a container", sources: []string{"tree"}, o: CopyOptions{Dest: "/t", Chown: "1:2"}, inside: true},
	{name: "absolute link in a container", sources: []string{"abs"}, o: to("/t"), inside: true},
	{name: "link out of a container", sources: []string{"escape/passwd"}, o: to("/t"), inside: true},
	{name: "excluded in a container", sources: []string{"tree"}, inside: true,
		o: CopyOptions{Dest: "/t", Exclude: []string{"tree/deep", "!tree/deep/deeper/e.txt"}}},
	{name: "timestamp of a file", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/y", Timestamp: then}},
	{name: "timestamp of a tree", sources: []string{"tree"}, o: CopyOptions{Dest: "/dir", Timestamp: then}},
	{name: "timestamp of a tree to a new place", sources: []string{"tree"}, o: CopyOptions{Dest: "/x/y", Timestamp: then}},
	{name: "timestamp with excluded directories", sources: []string{"tree"}, o: CopyOptions{Dest: "/x/y", Timestamp: then,
		Exclude: []string{"SRC/tree/*", "!SRC/tree/deep/deeper/e.txt"}}},
	{name: "timestamp with excluded directories that are there", sources: []string{"tree"}, o: CopyOptions{Dest: "/dir",
		Timestamp: then, Exclude: []string{"SRC/tree/*", "!SRC/tree/deep/d.txt"}}},
	{name: "no follow of a link to a file", sources: []string{"tolink"}, o: noFollow("/x/y")},
	{name: "no follow into a directory", sources: []string{"tolink"}, o: noFollow("/x/y/")},
	{name: "no follow onto a file", sources: []string{"tolink"}, o: noFollow("/file")},
	{name: "no follow of a link to a directory", sources: []string{"todir"}, o: noFollow("/x/y")},
	{name: "no follow of a link below one", sources: []string{"todir/up"}, o: noFollow("/x/y")},
	{name: "no follow of a dangling link", sources: []string{"nolink"}, o: noFollow("/x/y")},
	{name: "no follow of a loop", sources: []string{"looplink"}, o: noFollow("/x/y")},
	{name: "no follow of a wildcard", sources: []string{"to*"}, o: noFollow("/x/y")},
	{name: "no follow of a file", sources: []string{"a.txt"}, o: noFollow("/x/y")},
	{name: "no follow of a tree", sources: []string{"tree"}, o: noFollow("/x/y")},
	{name: "no follow, excluded", sources: []string{"tolink"}, o: CopyOptions{Dest: "/x/", NoFollow: true, Exclude: []string{"**/a.txt"}}},
	{name: "no wildcards", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/", NoWildcards: true}},
	{name: "no wildcards and one", sources: []string{"?.txt"}, o: CopyOptions{Dest: "/x/", NoWildcards: true}},
	{name: "no wildcards and a name of them", sources: []string{"odd/a[b].txt"}, o: CopyOptions{Dest: "/x/", NoWildcards: true}},
	{name: "empty wildcard", sources: []string{"*.none"}, o: CopyOptions{Dest: "/x/", EmptyWildcard: true}},
	{name: "empty wildcards", sources: []string{"*.none", "?.none"}, o: CopyOptions{Dest: "/x/", EmptyWildcard: true}},
	{name: "empty wildcard beside a file", sources: []string{"*.none", "a.txt"}, o: CopyOptions{Dest: "/x/", EmptyWildcard: true}},
	{name: "empty wildcard beside what is missing", sources: []string{"*.none", "none"}, o: CopyOptions{Dest: "/x/", EmptyWildcard: true}},
	{name: "empty wildcard, all excluded", sources: []string{"?.txt"}, o: CopyOptions{Dest: "/x/", EmptyWildcard: true, Exclude: []string{"**/*.txt"}}},
	{name: "context", sources: []string{"c.txt"}, context: "tree", o: to("/x/")},
	{name: "context with dot", sources: []string{"./c.txt"}, context: "tree", o: to("/x/")},
	{name: "all of the context", sources: []string{"."}, context: "tree", o: to("/x")},
	{name: "context with a wildcard", sources: []string{"*/d*"}, context: "tree", o: to("/x/")},
	{name: "context by an absolute path", sources: []string{"SRC/tree/c.txt"}, context: "tree", o: to("/x/")},
	{name: "context by a link", sources: []string{"d.txt"}, context: "todir", o: to("/x/")},
	{name: "missing in the context", sources: []string{"a.txt"}, context: "tree", o: to("/x/")},
	{name: "absolute link in a context", sources: []string{"abs"}, context: ".", o: to("/x/")},
	{name: "link above a context", sources: []string{"up"}, context: "tree/deep", o: to("/x/")},
	{name: "chain of links above a context", sources: []string{"escape/passwd"}, context: ".", o: to("/x/")},
	{name: "exclude from a context", sources: []string{"."}, context: "tree", o: excluding("c.txt", "deep/*", "!deep/d.txt")},
	{name: "exclude in a directory of a context", sources: []string{"deep"}, context: "tree", o: excluding("deep/deeper", "d.txt")},
	{name: "from a container by name", sources: []string{"tree"}, from: true, o: to("/t")},
	{name: "from a container, absolute", sources: []string{"/tree/c.txt"}, from: true, o: to("/t/")},
	{name: "from a container, chowned", sources: []string{"tree"}, from: true, o: CopyOptions{Dest: "/t", Chown: "app"}},
	{name: "from a container, excluding", sources: []string{"tree"}, from: true, o: excluding("tree/deep", "**/*.txt")},
	{name: "from a container with a context", sources: []string{"/tree/deep"}, from: true, context: "/tree", o: excluding("deep/d.txt")},
	{name: "from a container by links", sources: []string{"abs", "todir"}, from: true, o: to("/t")},
	{name: "from a container, no follow", sources: []string{"abs"}, from: true, o: noFollow("/t")},
	{name: "add file", sources: []string{"a.txt"}, o: CopyOptions{Dest: "/x/", Extract: true}},
	{name: "add directory with an archive", sources: []string{"packed"}, o: CopyOptions{Dest: "/x/", Extract: true}},
	{name: "add archive", sources: []string{"packed/f.tar"}, o: CopyOptions{Dest: "/x/", Extract: true}, library: true},
	{name: "add archive among files", sources: []string{"a.txt", "packed/f.tar"}, o: CopyOptions{Dest: "/x/", Extract: true}, library: true},
	{name: "copy archive", sources: []string{"packed/f.tar"}, o: to("/x/")},
}

// TestCopyAsLibrary holds package transfer to the library's outcome.
func TestCopyAsLibrary(t *testing.T) {
	b := newBuilder(t)
	host := t.TempDir()
	fillSource(t, host)
	inside := newContainer(t, b)
	fillSource(t, inside.root)
	for _, test := range copyCases {
		t.Run(test.name, func(t *testing.T) {
			o := test.o
			root, below := "/", host
			if test.inside {
				root, below = inside.root, ""
			}
			place := func(name string) string { return strings.ReplaceAll(name, "SRC", host) }
			for _, name := range test.sources {
				source := Source{Root: root, Path: filepath.Join("/", below, name)}
				if test.from || test.context != "" && !strings.HasPrefix(name, "SRC") {
					source = Source{Path: name}
				} else if test.context != "" {
					source = Source{Root: "/", Path: place(name)}
				}
				o.Sources = append(o.Sources, source)
			}
			if test.from {
				o.From = &CopyFrom{Container: inside}
			}
			if test.context != "" && test.from {
				o.Context = &Source{Path: test.context}
			} else if test.context != "" {
				o.Context = &Source{Root: "/", Path: filepath.Join(host, test.context)}
			}
			o.Exclude = slices.Clone(o.Exclude)
			for i := range o.Exclude {
				o.Exclude[i] = strings.ReplaceAll(o.Exclude[i], "SRC", strings.TrimPrefix(host, "/"))
			}
			theirs, ours := newContainer(t, b), newContainer(t, b)
			for _, c := range []*Container{theirs, ours} {
				c.builder.SetWorkDir(test.workdir)
				if test.dest != nil {
					test.dest(c.root)
				} else {
					fillDest(t, c.root)
				}
			}
			want := copyOne(t, theirs, o, func(b batch) error { return theirs.copyByLibrary(t.Context(), b, o) })
			got := copyOne(t, ours, o, func(b batch) error {
				work, err := ours.prepare(b, o)
				if err != nil {
					return err
				}
				return work.Copy(t.Context())
			})
			if errors.Is(got, transfer.ErrNotCovered) != test.library {
				t.Fatalf("package transfer: %v; want it left to the library: %t", got, test.library)
			}
			t.Logf("library: %v", want)
			t.Logf("ours:    %v", got)
			if test.library || test.tolerant && want != nil && got == nil {
				return
			}
			if (want == nil) != (got == nil) {
				t.Fatal("one fails")
			}
			if want == nil {
				compareTrees(t, theirs.root, ours.root)
			}
		})
	}
}

// copyOne gathers what is one batch, and copies it.
func copyOne(t *testing.T, c *Container, o CopyOptions, do func(b batch) error) error {
	t.Helper()
	g, err := c.gather(t.Context(), o)
	defer func() {
		if err := g.close(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	return do(g.batches[0])
}

// TestCopyIntoItself is about what the library does without an end, or not at all.
func TestCopyIntoItself(t *testing.T) {
	b := newBuilder(t)
	c := newContainer(t, b)
	fillDest(t, c.root)
	err := c.Copy(t.Context(), CopyOptions{Sources: []Source{{Root: c.root, Path: "/"}}, Dest: "/dir/deep"})
	if err == nil || !strings.Contains(err.Error(), "can't be copied into itself") {
		t.Errorf("a directory into one below it: %v", err)
	}
	if err := c.Copy(t.Context(), CopyOptions{Sources: []Source{{Root: c.root, Path: "/file"}}, Dest: "/file"}); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(filepath.Join(c.root, "file")); string(text) != "old" {
		t.Errorf("a file onto itself: %q, %v", text, err)
	}
	if err := c.Copy(t.Context(), CopyOptions{Sources: []Source{{Root: "/", Path: "/proc/self/status"}}, Dest: "/status"}); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(c.root, "status")); err != nil || info.Size() == 0 {
		t.Errorf("a file of /proc: %v, %v", info, err)
	}
}

// TestCopyStops is about an interrupted run.
func TestCopyStops(t *testing.T) {
	b := newBuilder(t)
	c := newContainer(t, b)
	host := t.TempDir()
	fillSource(t, host)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.Copy(ctx, CopyOptions{Sources: []Source{{Root: "/", Path: host}}, Dest: "/x"})
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v", err)
	}
}

// TestCopySparse holds copies to the holes of their sources.
func TestCopySparse(t *testing.T) {
	b := newBuilder(t)
	c := newContainer(t, b)
	host := t.TempDir()
	maker{t, host}.sparse("sparse", 1<<30)
	if err := c.Copy(t.Context(), CopyOptions{Sources: []Source{{Root: "/", Path: host + "/sparse"}}, Dest: "/"}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(c.root, "sparse"), &st); err != nil || st.Size != 1<<30 || st.Blocks > 1024 {
		t.Errorf("%d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
}

func compareTrees(t *testing.T, want, got string) {
	t.Helper()
	w, g := describeTree(t, want), describeTree(t, got)
	for _, line := range w {
		if !slices.Contains(g, line) {
			t.Errorf("only the library: %s", line)
		}
	}
	for _, line := range g {
		if !slices.Contains(w, line) {
			t.Errorf("only ours:        %s", line)
		}
	}
}

// describeTree returns a line for each entry with all that is compared. Times of the last minutes are all the same: they
// are those of directories that nobody gave a time.
func describeTree(t *testing.T, root string) (lines []string) {
	t.Helper()
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		modified := "now"
		if time.Since(info.ModTime()) > 10*time.Minute || time.Until(info.ModTime()) > 10*time.Minute {
			modified = info.ModTime().UTC().Format(time.RFC3339Nano)
		}
		name, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("%s %v %d:%d %s rdev=%d nlink=%d", name, info.Mode(), st.Uid, st.Gid, modified, st.Rdev, st.Nlink)
		switch {
		case info.Mode().IsRegular():
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			sum := sha256.New()
			if _, err := io.Copy(sum, file); err != nil {
				return err
			}
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			line += fmt.Sprintf(" %d bytes %.6x first=%s", info.Size(), sum.Sum(nil), first[st.Ino])
		case info.Mode().Type() == fs.ModeSymlink:
			target, _ := os.Readlink(path)
			line += " -> " + target
		}
		lines = append(lines, line+" "+xattrs(path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func xattrs(path string) string {
	buffer, value := make([]byte, 4096), make([]byte, 4096)
	n, err := unix.Llistxattr(path, buffer)
	if err != nil {
		return err.Error()
	}
	var all []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buffer[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, name, value)
		all = append(all, fmt.Sprintf("%s=%q,%v", name, value[:max(n, 0)], err))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func newBuilder(t *testing.T) *Builder {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine-test-") // not t.TempDir, which doesn't wait for a mount to go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := store.Open(store.Options{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run")})
	if err != nil {
		t.Fatal(err)
	}
	logrus.SetOutput(io.Discard) // the library's notes about sockets it leaves out
	b, err := New(Options{Store: s, TempDir: t.TempDir(), Display: output.New(nil), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// newContainer returns a mounted container with nothing in it.
func newContainer(t *testing.T, b *Builder) *Container {
	t.Helper()
	c, err := b.From(context.Background(), FromOptions{Image: Scratch})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Mount(); err != nil {
		t.Fatal(err)
	}
	return c
}

// fillDest makes what the containers hold before something is copied into them.
func fillDest(t *testing.T, root string) {
	t.Helper()
	m := maker{t, root}
	m.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1001:1002:app:/home/app:/bin/sh\n")
	m.file("etc/group", "root:x:0:\nstaff:x:50:app\napp:x:1002:\n")
	m.file("file", "old")
	m.file("dir/old.txt", "old")
	m.file("dir/deep/d.txt", "old")
	m.link("file", "filelink")
	m.link("dir", "dirlink")
	m.link("/dir", "absdirlink")
	m.link("not/there", "dangling")
	m.link("loop", "loop")
	m.link("../../../../../../tmp", "out")
	m.node("pipe", unix.S_IFIFO)
	m.file("hold/a.txt/inside", "a directory in the way")
	m.file("hold/dir-on-file", "a file in the way")
	m.link("/dir", "hold/dir-on-link")
	m.link("/dir", "hold/deep")
	m.link("/file", "hold/file-on-link")
	m.file("hold/link-on-dir/x", "x")
	m.file("hold/pipe-on-file", "x")
	m.file("hold/merge/kept", "x")
}

// fillSource makes the fixture.
func fillSource(t *testing.T, root string) {
	t.Helper()
	m := maker{t, root}
	m.file("a.txt", "a")
	m.file("b.txt", "bb")
	m.file("suid", "setuid")
	m.file("tree/c.txt", "ccc")
	m.file("tree/deep/d.txt", "dddd")
	m.file("tree/deep/deeper/e.txt", "eeeee")
	m.file("tree/deep/deeper/big", strings.Repeat("0123456789abcdef", 20000))
	m.file("tree/empty-file", "")
	m.dir("tree/empty-dir")
	m.link("c.txt", "tree/rel")
	m.link("/etc/hostname", "tree/abs")
	m.link("../../../../../../../../etc", "tree/out")
	m.link("nowhere", "tree/dangling")
	m.node("tree/fifo", unix.S_IFIFO)
	m.node("tree/sock", unix.S_IFSOCK)
	m.file("tree/owned", "x")
	m.file("tree/one", "linked")
	m.hardlink("tree/one", "tree/another")
	m.hardlink("tree/one", "tree/deep/third")
	m.sparse("tree/sparse", 5<<20)
	m.file("tree/with.attributes", "x")
	m.file("tree/capable", "x")
	m.file("tree/closed/x", "x")
	m.file("tree/sticky/x", "x")
	m.file("tree/group/x", "x")
	m.file("plain/sub/x", "x")
	m.link("x", "plain/sub/l")
	m.dir("empty")
	m.file("odd/a[b].txt", "x")
	m.file("odd/q?*", "x")
	m.file("mixa", "x")
	m.file("mixb/x", "x")
	m.link("a.txt", "tolink")
	m.link("tree/deep", "todir")
	m.link("../c.txt", "tree/deep/up")
	m.link("nowhere", "nolink")
	m.link("looplink", "looplink")
	m.link("/tree/c.txt", "abs")
	m.link("../../../../../../../etc", "escape")
	m.node("fifo", unix.S_IFIFO)
	m.node("sock", unix.S_IFSOCK)
	m.file("clash/a.txt", "now a file")
	m.file("clash/dir-on-file/x", "now a directory")
	m.file("clash/dir-on-link/x", "now a directory")
	m.file("clash/file-on-link", "now a file")
	m.link("a.txt", "clash/link-on-dir")
	m.node("clash/pipe-on-file", unix.S_IFIFO)
	m.file("clash/merge/new", "x")
	m.archive("packed/f.tar")
	m.check(os.Chown(filepath.Join(root, "tree/owned"), 5, 6))
	m.check(os.Lchown(filepath.Join(root, "tree/rel"), 5, 6))
	m.check(os.Chown(filepath.Join(root, "tree/deep"), 7, 8))
	m.check(unix.Setxattr(filepath.Join(root, "tree/with.attributes"), "user.one", []byte("1\x00\xff"), 0))
	m.check(unix.Setxattr(filepath.Join(root, "tree/with.attributes"), "user.empty", nil, 0))
	m.check(unix.Setxattr(filepath.Join(root, "tree/deep"), "user.dir", []byte("d"), 0))
	m.check(unix.Setxattr(filepath.Join(root, "tree/capable"), "security.capability",
		[]byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	for name, mode := range map[string]uint32{"suid": 0o4755, "tree/closed": 0o500, "tree/sticky": 0o1777,
		"tree/group": 0o2775, "tree/c.txt": 0o600, "tree/deep/d.txt": 0o2755, "tree/one": 0, "tree/fifo": 0o622} {
		m.check(unix.Chmod(filepath.Join(root, name), mode))
	}
	m.date()
}

type maker struct {
	t    *testing.T
	root string
}

func (m maker) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m maker) at(name string) string {
	path := filepath.Join(m.root, name)
	m.check(os.MkdirAll(filepath.Dir(path), 0o755))
	return path
}

func (m maker) file(name, content string) { m.check(os.WriteFile(m.at(name), []byte(content), 0o644)) }
func (m maker) dir(name string)           { m.check(os.Mkdir(m.at(name), 0o751)) }
func (m maker) link(target, name string)  { m.check(os.Symlink(target, m.at(name))) }
func (m maker) hardlink(old, name string) {
	m.check(os.Link(filepath.Join(m.root, old), m.at(name)))
}
func (m maker) node(name string, kind uint32) { m.check(unix.Mknod(m.at(name), kind|0o644, 0)) }

func (m maker) sparse(name string, size int64) {
	file, err := os.Create(m.at(name))
	m.check(err)
	defer file.Close()
	m.check(file.Truncate(size))
	_, err = file.WriteAt([]byte("in the middle"), size/2)
	m.check(err)
}

func (m maker) archive(name string) {
	file, err := os.Create(m.at(name))
	m.check(err)
	defer file.Close()
	w := tar.NewWriter(file)
	m.check(w.WriteHeader(&tar.Header{Name: "in-archive", Size: 1, Mode: 0o640, Typeflag: tar.TypeReg}))
	_, err = w.Write([]byte("x"))
	m.check(err)
	m.check(w.Close())
}

// date gives everything a time of its own, with halves of seconds to either side.
func (m maker) date() {
	at := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	m.check(filepath.WalkDir(m.root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at = at.Add(time.Hour + 300*time.Millisecond)
		spec := unix.NsecToTimespec(at.UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{spec, spec}, unix.AT_SYMLINK_NOFOLLOW)
	}))
}
