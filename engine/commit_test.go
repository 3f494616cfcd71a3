package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// fill puts into a root what layers are known to go wrong with.
func fill(t *testing.T, root string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	write := func(name, text string, mode uint32) {
		check(t, os.WriteFile(at(name), []byte(text), 0o600))
		check(t, unix.Chmod(at(name), mode))
	}
	check(t, os.MkdirAll(at("deep/"+strings.Repeat("down/", 60)), 0o755))
	check(t, os.Mkdir(at("dir"), 0o755))
	write("setuid", "x", 0o4755)
	write("mode0", "x", 0)
	write("empty", "", 0o644)
	write(strings.Repeat("l", 130), "long", 0o644)
	write(strings.Repeat("m", 255), "longer", 0o644)
	write("ümlaut \xff", "names", 0o644)
	write("attributes", "x", 0o644)
	check(t, unix.Setxattr(at("attributes"), "user.mark", []byte("value"), 0))
	check(t, unix.Setxattr(at("attributes"), "security.capability",
		[]byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	check(t, os.Chown(at("setuid"), 65000, 65001))
	check(t, unix.Chmod(at("setuid"), 0o4755))
	write("dir/a", "linked", 0o644)
	check(t, os.Link(at("dir/a"), at("dir/b")))
	check(t, os.Symlink(strings.Repeat("target/", 40), at("dir/symlink")))
	check(t, unix.Mkfifo(at("dir/fifo"), 0o600))
	write("sparse", "", 0o644)
	check(t, os.Truncate(at("sparse"), 3<<20))
	check(t, os.WriteFile(at("large"), make([]byte, 5<<20), 0o644))
	check(t, os.Chtimes(at("dir/a"), time.Time{}, time.Unix(1234567890, 987654321)))
	check(t, os.Chtimes(at("empty"), time.Time{}, time.Unix(1<<33, 0)))
	check(t, os.Chmod(at("dir"), 0))
}

// alter changes what fill left, in a container on top.
func alter(t *testing.T, root string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	check(t, os.Chmod(at("setuid"), 0o700))                        // copied up
	check(t, os.Remove(at("empty")))                               // deleted
	check(t, os.RemoveAll(at("deep")))                             // a directory that
	check(t, os.Mkdir(at("deep"), 0o755))                          // hides the one below
	check(t, os.WriteFile(at("deep/new"), []byte("new"), 0o644))   //
	check(t, os.RemoveAll(at("dir")))                              // replaced by a file
	check(t, os.WriteFile(at("dir"), []byte("now a file"), 0o644)) //
	check(t, os.Remove(at("large")))                               // a file replaced
	check(t, os.MkdirAll(at("large/inner"), 0o750))                // by a directory
}

// TestSameAsLibrary commits containers both ways and compares what the store has of them.
func TestSameAsLibrary(t *testing.T) {
	created := time.Unix(1700000000, 0)
	b := run(t, place(t), "overlay")
	b.options.Created = &created
	c, err := b.From(t.Context(), FromOptions{Image: Scratch})
	check(t, err)
	root, err := c.Mount()
	check(t, err)
	fill(t, root)
	first := bothWays(t, c, CommitOptions{})
	again, err := c.Commit(t.Context(), CommitOptions{})
	check(t, err)
	if again.ID != first.ID {
		t.Errorf("committed again the image is %s, was %s", again.ID, first.ID)
	}
	check(t, os.WriteFile(filepath.Join(root, "more"), nil, 0o644))
	if more := bothWays(t, c, CommitOptions{}); more.ID == first.ID {
		t.Error("a container that changed makes the same image")
	}

	// A pull of parts of layers leaves top directories like this one.
	dir := layerDir(t, b, first)
	check(t, errors.Join(os.Chown(dir, 1, 2), os.Chmod(dir, 0o711)))
	upper, err := b.From(t.Context(), FromOptions{Image: first.ID})
	check(t, err)
	root, err = upper.Mount()
	check(t, err)
	alter(t, root)
	second := bothWays(t, upper, CommitOptions{})
	third, err := b.From(t.Context(), FromOptions{Image: second.ID})
	check(t, err)
	bothWays(t, third, CommitOptions{}) // an empty layer
	sound(t, b)
}

// TestSameTimes does so at times that the commit gives the files, and with what it changes of the configuration.
func TestSameTimes(t *testing.T) {
	created := time.Unix(1700000000, 0)
	b := run(t, place(t), "overlay")
	b.options.Created = &created
	base, err := b.From(t.Context(), FromOptions{Image: Scratch})
	check(t, err)
	root, err := base.Mount()
	check(t, err)
	fill(t, root)
	image, err := base.Commit(t.Context(), CommitOptions{})
	check(t, err)
	c, err := b.From(t.Context(), FromOptions{Image: image.ID})
	check(t, err)
	if root, err = c.Mount(); err != nil {
		t.Fatal(err)
	}
	alter(t, root)
	fill(t, filepath.Join(root, "deep"))
	check(t, os.Chtimes(filepath.Join(root, "deep/new"), time.Time{}, time.Unix(-1e9, 5))) // before what tar's plain headers hold
	edits := Edits{Changes: []string{"ENV A=b"}, UnsetEnv: []string{"PATH"}, Annotations: []string{"a=b"}, OmitHistory: true}
	ids := map[string]string{}
	for _, o := range []CommitOptions{
		{Times: Times{Timestamp: new(time.Unix(1234567890, 0))}},
		{Times: Times{Timestamp: new(time.Unix(0, 0))}, Format: "docker", Edits: edits},
		{Times: Times{Rewrite: true}, Edits: edits},
		{Times: Times{SourceDateEpoch: new(time.Unix(1300000000, 0)), Rewrite: true}},
		{Times: Times{SourceDateEpoch: new(time.Unix(1300000000, 0))}},
	} {
		made := bothWays(t, c, o)
		if other, twice := ids[made.ID]; twice {
			t.Errorf("%+v makes the same image as %s", o.Times, other)
		}
		ids[made.ID] = fmt.Sprintf("%+v", o.Times)
		check(t, b.RemoveImage(t.Context(), made, false))
	}
	sound(t, b)
}

// TestNoOverlay leaves commits to the library where the store has no upper directories, unless the user insists.
func TestNoOverlay(t *testing.T) {
	b := run(t, place(t), "vfs")
	var said []string
	b.options.Info = func(line string) { said = append(said, line) }
	c, err := b.From(t.Context(), FromOptions{Image: Scratch})
	check(t, err)
	for range 2 {
		_, err = c.Commit(t.Context(), CommitOptions{})
		check(t, err)
	}
	if want := []string{"commits are made by the library: the storage driver is vfs"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	b.options.CommitMethod = fastMethod
	if _, err = c.Commit(t.Context(), CommitOptions{}); err == nil || !strings.Contains(err.Error(), "the storage driver is vfs") {
		t.Errorf("insisting gives %v", err)
	}
}

func layerDir(t *testing.T, b *Builder, image *Image) string {
	t.Helper()
	found, err := b.options.Store.Image(image.ID)
	check(t, err)
	driver, err := b.options.Store.GraphDriver()
	check(t, err)
	places, err := driver.Metadata(found.TopLayer)
	check(t, err)
	return places["UpperDir"]
}

// bothWays commits the container by the library, then again after that image is gone, and holds the images, their layers
// and what is recorded of them against each other.
func bothWays(t *testing.T, c *Container, o CommitOptions) *Image {
	t.Helper()
	b := c.run
	o.Name = "localhost/same"
	b.options.CommitMethod = libraryMethod
	want, err := c.Commit(t.Context(), o)
	check(t, err)
	wanted := recorded(t, b, want)
	check(t, b.RemoveImage(t.Context(), want, false))
	b.options.CommitMethod = fastMethod // which fails rather than leave it to the library
	got, err := c.Commit(t.Context(), o)
	check(t, err)
	for i, line := range recorded(t, b, got) {
		if i >= len(wanted) || line != wanted[i] {
			t.Fatalf("the image has\n%s\nthe library's\n%s", line, strings.Join(wanted[min(i, len(wanted)):], "\n"))
		}
	}
	return got
}

// recorded lists all that a store knows of an image and its top layer, and the layer's files.
func recorded(t *testing.T, b *Builder, image *Image) []string {
	t.Helper()
	s := b.options.Store
	found, err := s.Image(image.ID)
	check(t, err)
	top, err := s.Layer(found.TopLayer)
	check(t, err)
	// Staged layers have no field for the size of what was never compressed; what looks for such a layer finds it by its
	// own digest.
	top.Created, top.CompressedDigest, top.CompressedSize = time.Time{}, "", 0
	size, err := s.DiffSize("", top.ID)
	check(t, err)
	var lines []string
	for _, value := range []any{found, top, size} {
		text, err := json.MarshalIndent(value, "", " ")
		check(t, err)
		lines = append(lines, strings.Split(string(text), "\n")...)
	}
	for _, key := range found.BigDataNames {
		data, err := s.ImageBigData(found.ID, key)
		check(t, err)
		lines = append(lines, key+" "+string(data))
	}
	return append(lines, files(t, layerDir(t, b, image))...)
}

// files describes a layer's files.
func files(t *testing.T, dir string) (lines []string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(file)
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		name, _ := filepath.Rel(dir, file)
		line := fmt.Sprintf("%q %v %d:%d links %d size %d", name, info.Mode(), stat.Uid, stat.Gid, stat.Nlink, info.Size())
		if file != dir && info.Mode()&os.ModeCharDevice == 0 {
			line += fmt.Sprint(" ", stat.Mtim.Nano())
		}
		target, _ := os.Readlink(file)
		attributes, err := system.Llistxattr(file)
		slices.Sort(attributes)
		for _, a := range attributes {
			value, _ := system.Lgetxattr(file, a)
			target += fmt.Sprintf(" %s=%q", a, value)
		}
		lines = append(lines, line+target)
		return err
	}))
	return lines
}

// sound checks the store as `podman system check` does.
func sound(t *testing.T, b *Builder) {
	t.Helper()
	options := storage.CheckEverything()
	report, err := b.options.Store.Check(options)
	check(t, err)
	for what, errs := range map[string]map[string][]error{
		"layer": report.Layers, "image": report.Images, "container": report.Containers,
	} {
		for id, e := range errs {
			t.Errorf("the check finds of %s %s: %v", what, id, errors.Join(e...))
		}
	}
	staged, err := filepath.Glob(filepath.Join(b.options.Store.GraphRoot(), "overlay/staging/*"))
	check(t, err)
	if len(staged) > 0 {
		t.Errorf("left behind: %s", staged)
	}
}

// TestGivenUp commits a container that isn't needed any more: the image is the same, and the container gone.
func TestGivenUp(t *testing.T) {
	b := run(t, place(t), "overlay")
	created := time.Unix(1700000000, 0)
	b.options.Created = &created
	var ids []string
	for _, o := range []CommitOptions{{Name: "localhost/kept"}, {Name: "localhost/given", Remove: true}} {
		base, err := b.From(t.Context(), FromOptions{Image: Scratch})
		check(t, err)
		root, err := base.Mount()
		check(t, err)
		fill(t, root)
		check(t, filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error {
			at := unix.Timespec{Sec: 1600000000, Nsec: 5}
			return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, file, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
		}))
		image, err := base.Commit(t.Context(), o)
		check(t, err)
		ids = append(ids, image.ID)
		if o.Remove != base.gone {
			t.Errorf("rm = %v leaves a container that is gone: %v", o.Remove, base.gone)
		}
		check(t, b.RemoveImage(t.Context(), image, false))
	}
	if ids[0] != ids[1] {
		t.Errorf("images %q differ", ids)
	}
	sound(t, b)
}

// TestManyAtOnce commits the same files from several containers at the same time.
func TestManyAtOnce(t *testing.T) {
	dir := place(t)
	var containers []*Container
	for range 4 {
		b := run(t, dir, "overlay")
		created := time.Unix(1700000000, 0)
		b.options.Created = &created
		c, err := b.From(t.Context(), FromOptions{Image: Scratch})
		check(t, err)
		root, err := c.Mount()
		check(t, err)
		for i := range 200 {
			file := filepath.Join(root, fmt.Sprint(i))
			check(t, os.WriteFile(file, make([]byte, 1000*i), 0o644))
			check(t, os.Chtimes(file, time.Time{}, created))
		}
		containers = append(containers, c)
	}
	var all sync.WaitGroup
	ids := make([]string, len(containers))
	errs := make([]error, len(containers))
	for i, c := range containers {
		all.Go(func() {
			image, err := c.Commit(t.Context(), CommitOptions{Name: "localhost/race"})
			if errs[i] = err; err == nil {
				ids[i] = image.ID
			}
		})
	}
	all.Wait()
	check(t, errors.Join(errs...))
	if slices.Sort(ids); len(slices.Compact(ids)) != 1 {
		t.Errorf("images %q", ids)
	}
	sound(t, containers[0].run)
}

// TestCommitFails checks that a container whose commit fails is what it was.
func TestCommitFails(t *testing.T) {
	b := run(t, place(t), "overlay")
	c, err := b.From(t.Context(), FromOptions{Image: Scratch})
	check(t, err)
	root, err := c.Mount()
	check(t, err)
	fill(t, root)
	before := files(t, root)
	check(t, os.Mkdir(filepath.Join(b.options.Store.RunRoot(), "rlbuild-layers.lock"), 0o700)) // nobody can lock that
	if _, err := c.Commit(t.Context(), CommitOptions{Remove: true}); err == nil {
		t.Fatal("the commit didn't fail")
	}
	root, err = c.Mount() // which is released for files that the image is to share
	check(t, err)
	if after := files(t, root); !slices.Equal(before, after) {
		t.Errorf("the container has\n%s\nhad\n%s", after, before)
	}
	sound(t, b)
}
