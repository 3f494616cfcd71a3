package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/reference"
)

// placed prepares a place.
func placed(t *testing.T, b *Builder, name string) *placing {
	t.Helper()
	parsed, err := reference.Parse(name)
	check(t, err)
	p, err := b.place(parsed, "")
	check(t, err)
	t.Cleanup(p.Close)
	if p.put == nil {
		t.Fatalf("%s is written as it is", name)
	}
	return p
}

func write(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

func content(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// layoutOf writes what the library writes of an image, in a layout that it finds without any.
func layoutOf(t *testing.T, dir, name string) {
	t.Helper()
	blob := "manifest of " + name
	sum := digest.FromString(blob)
	write(t, filepath.Join(dir, "blobs/sha256", sum.Encoded()), blob)
	write(t, filepath.Join(dir, "oci-layout"), `{"imageLayoutVersion": "1.0.0"}`)
	index, err := json.Marshal(v1.Index{Manifests: []v1.Descriptor{
		{Digest: sum, Annotations: map[string]string{v1.AnnotationRefName: name}},
	}})
	check(t, err)
	write(t, filepath.Join(dir, "index.json"), string(index))
}

// TestPlacesOfTwo: of those who add to one layout at the same time, new or not, nobody loses his image.
func TestPlacesOfTwo(t *testing.T) {
	dir := place(t)
	b := run(t, dir, "vfs")
	layout := filepath.Join(dir, "layout")
	for _, names := range [][]string{{"a", "b", "c"}, {"d", "e", "a"}} {
		var places []*placing
		for _, name := range names {
			p := placed(t, b, "oci:"+layout+":"+name)
			layoutOf(t, p.written, name)
			places = append(places, p)
		}
		var all sync.WaitGroup
		for _, p := range places {
			all.Go(func() {
				if err := p.finish(t.Context(), nil); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	index, _, err := readIndex(layout)
	check(t, err)
	found := map[string]digest.Digest{}
	for _, image := range index.Manifests {
		found[image.Annotations[v1.AnnotationRefName]] = image.Digest
	}
	if len(found) != 5 || len(index.Manifests) != 5 {
		t.Errorf("the index has %v", index.Manifests)
	}
	for name, sum := range found {
		if got := content(filepath.Join(layout, "blobs/sha256", sum.Encoded())); got != "manifest of "+name {
			t.Errorf("%s: %q", name, got)
		}
	}
	if left, _ := filepath.Glob(dir + "/.layout.*"); len(left) > 0 { // the pattern is a good one
		t.Errorf("left: %q", left)
	}
}

// TestPlacesThatStay: what is put into a directory while the image is written stays, as does the directory itself, and the old
// image goes. One that is empty may be begun more than once.
func TestPlacesThatStay(t *testing.T) {
	dir := place(t)
	b := run(t, dir, "vfs")
	folder := filepath.Join(dir, "folder")
	check(t, os.Mkdir(folder, 0o755))
	check(t, os.Chmod(folder, 0o750|fs.ModeSetgid))
	was, err := os.Stat(folder)
	check(t, err)
	killed := placed(t, b, "dir:"+folder) // whose neighbour is there yet
	write(t, filepath.Join(killed.written, "blob0"), "")
	for _, n := range []string{"1", "2"} {
		p := placed(t, b, "dir:"+folder)
		for _, name := range []string{"blob" + n, "version", "manifest.json", "signature-" + n} {
			write(t, filepath.Join(p.written, name), n)
		}
		write(t, filepath.Join(folder, "mine"+n), "precious")
		check(t, p.finish(t.Context(), nil))
		for _, name := range []string{"blob" + n, "version", "manifest.json", "signature-" + n} {
			if got := content(filepath.Join(folder, name)); got != n {
				t.Errorf("%s: %q", name, got)
			}
		}
		if got := content(filepath.Join(folder, "mine"+n)); got != "precious" {
			t.Errorf("a file of the user's: %s", got)
		}
	}
	if old, _ := filepath.Glob(folder + "/*1"); len(old) > 0 { // the pattern is a good one
		t.Errorf("the old image has left %q", old)
	}
	if now, err := os.Stat(folder); err != nil || !os.SameFile(was, now) || now.Mode() != was.Mode() {
		t.Errorf("the directory is another: %v %v", now.Mode(), err)
	}
}

// TestPlacesInTurn: a directory is never without a whole image, wherever its writer is killed.
func TestPlacesInTurn(t *testing.T) {
	dir := place(t)
	b := run(t, dir, "vfs")
	folder := filepath.Join(dir, "folder")
	for _, name := range []string{"old", "manifest.json", "version"} {
		write(t, filepath.Join(folder, name), "old")
	}
	p := placed(t, b, "dir:"+folder)
	for _, name := range []string{"new", "version", "zebra", "signature-1"} {
		write(t, filepath.Join(p.written, name), "new")
	}
	// The manifest can't be moved: as far as that it goes.
	check(t, os.Remove(filepath.Join(folder, "manifest.json")))
	write(t, filepath.Join(folder, "manifest.json/old"), "old")
	write(t, filepath.Join(p.written, "manifest.json"), "new")
	if err := p.finish(t.Context(), nil); err == nil || strings.Contains(err.Error(), p.written) {
		t.Errorf("moved, or about the neighbour: %v", err)
	}
	for name, want := range map[string]string{"old": "old", "manifest.json/old": "old", "version": "new", "new": "new", "zebra": "new"} {
		if got := content(filepath.Join(folder, name)); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "signature-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the signature came before what it signs: %v", err)
	}
}

// TestPlacesTakenMeanwhile: a docker-archive that somebody else has made stays, an oci-archive is replaced as ever.
func TestPlacesTakenMeanwhile(t *testing.T) {
	dir := place(t)
	b := run(t, dir, "vfs")
	for _, empty := range []bool{false, true} {
		path := filepath.Join(dir, "docker.tar")
		if empty {
			write(t, path, "")
		}
		p := placed(t, b, "docker-archive:"+path)
		write(t, p.written, "mine")
		write(t, path, "theirs")
		if err := p.finish(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "doesn't support modifying existing images") {
			t.Errorf("overwritten: %v", err)
		}
		if got := content(path); got != "theirs" {
			t.Errorf("theirs is %q", got)
		}
		p.Close()
		check(t, os.Remove(path))
	}
	path := filepath.Join(dir, "oci.tar")
	p := placed(t, b, "oci-archive:"+path)
	write(t, p.written, "mine")
	write(t, path, "theirs")
	check(t, p.finish(t.Context(), nil))
	if got := content(path); got != "mine" {
		t.Errorf("mine is %q", got)
	}
}

// TestPlacesOfOthers: a file with other names, of another group, or that is a mount point, is written and not replaced.
func TestPlacesOfOthers(t *testing.T) {
	dir := place(t)
	b := run(t, dir, "vfs")
	path := filepath.Join(dir, "app.tar")
	prepare := map[string]func(){
		"linked":  func() { check(t, os.Link(path, filepath.Join(dir, "other"))) },
		"grouped": func() { check(t, os.Chown(path, -1, 1)) },
		"mounted": func() {
			check(t, unix.Mount(path, path, "", unix.MS_BIND, ""))
			t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
		},
	}
	for name, do := range prepare {
		check(t, os.RemoveAll(path))
		write(t, path, "something longer than before")
		do()
		was, err := os.Stat(path)
		check(t, err)
		p := placed(t, b, "oci-archive:"+path)
		write(t, p.written, "image")
		check(t, p.finish(t.Context(), nil))
		now, err := os.Stat(path)
		check(t, err)
		if got := content(path); got != "image" || !os.SameFile(was, now) {
			t.Errorf("%s: %q, the same file: %v", name, got, os.SameFile(was, now))
		}
		_ = unix.Unmount(path, unix.MNT_DETACH) // where there is a mount
	}
}

// TestPlacesLeft: what can't be removed is removed at the run's end, which says so if it still can't be: then a later run tries.
func TestPlacesLeft(t *testing.T) {
	dir := place(t)
	b := run(t, dir, "vfs")
	p := placed(t, b, "dir:"+filepath.Join(dir, "folder"))
	temporary := p.written
	check(t, unix.Mount("tmpfs", temporary, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(temporary, unix.MNT_DETACH) })
	p.Close()
	left := b.left
	if err := b.Close(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("closed with %v", err)
	}
	check(t, unix.Unmount(temporary, 0))
	b.left = left
	check(t, b.Close())
	if _, err := os.Stat(temporary); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// TestPlacesWithColons: the library can't be told of a neighbour of what only a link can name.
func TestPlacesWithColons(t *testing.T) {
	dir := place(t)
	b := run(t, dir, "vfs")
	real, link := filepath.Join(dir, "x:y"), filepath.Join(dir, "link")
	check(t, os.Mkdir(real, 0o755))
	check(t, os.Symlink(real, link))
	placed(t, b, "dir:"+link)
	name, err := reference.Parse("oci:" + link + ":t")
	check(t, err)
	p, err := b.place(name, "")
	check(t, err)
	if p.put != nil || p.name.String() != name.String() {
		t.Errorf("the library is told of %s", p.name)
	}
}

// TestRenaming: a name is found wherever the pipe cuts it.
func TestRenaming(t *testing.T) {
	const said, want = "COMMIT oci:/tmp/a/tmp/a.tar\n/tmp/a/\x00/tmp/a/tmp/a.tar/tmp/", "COMMIT oci:/tmp/aNAME\n/tmp/a/\x00/tmp/aNAME/tmp/"
	for cut := range len(said) {
		var got bytes.Buffer
		r := &renaming{next: &got, old: []byte("/tmp/a.tar"), name: []byte("NAME")}
		for _, part := range []string{said[:cut], said[cut:]} {
			if n, err := r.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		r.flush()
		if got.String() != want {
			t.Errorf("cut at %d: %q", cut, got.String())
		}
	}
}
