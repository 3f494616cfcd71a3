package ociarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

var at = time.Unix(1700000000, 0)

// read returns the members of an archive and fails for what a strict reader would refuse.
func read(t *testing.T, path string) map[string][]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	members := map[string][]byte{}
	r := tar.NewReader(file)
	for {
		header, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if _, twice := members[header.Name]; twice {
			t.Errorf("%s is there twice", header.Name)
		}
		if !header.ModTime.Equal(at) || header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s has time %v, owner %d:%d", header.Name, header.ModTime, header.Uid, header.Gid)
		}
		if members[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	if info, _ := file.Stat(); info.Size()%block != 0 {
		t.Errorf("%d bytes are no whole blocks", info.Size())
	}
	return members
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func create(t *testing.T, path string) *Writer {
	t.Helper()
	w, err := Create(path, at)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func put(t *testing.T, w *Writer, data []byte) v1.Descriptor {
	t.Helper()
	sum, size, err := w.Blob(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if sum != digest.FromBytes(data) || size != int64(len(data)) {
		t.Fatalf("got %s, %d bytes", sum, size)
	}
	return v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: sum, Size: size}
}

func TestArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	w := create(t, path)
	big := bytes.Repeat([]byte("0123456789"), 300_000)
	blobs := [][]byte{big, []byte("config"), {}, bytes.Repeat([]byte("x"), block), big, []byte("manifest")}
	var manifest v1.Descriptor
	for _, data := range blobs {
		manifest = put(t, w, data)
	}
	if err := errors.Join(w.Finish(manifest, "name:1"), w.Close()); err != nil {
		t.Fatal(err)
	}
	members := read(t, path)
	for _, data := range blobs {
		if name := "blobs/sha256/" + digest.FromBytes(data).Encoded(); !bytes.Equal(members[name], data) {
			t.Errorf("%s has %d bytes, want %d", name, len(members[name]), len(data))
		}
	}
	if len(members) != 5+4 { // one blob came twice; two directories, index and layout
		t.Errorf("%d members", len(members))
	}
	var index v1.Index
	if err := json.Unmarshal(members["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	if m := index.Manifests; len(m) != 1 || m[0].Digest != manifest.Digest || m[0].Annotations[v1.AnnotationRefName] != "name:1" {
		t.Errorf("the index is %s", members["index.json"])
	}
	if string(members["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", members["oci-layout"])
	}
}

// TestRepeatedLast: the bytes of a blob that is there already don't stay behind the end.
func TestRepeatedLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	w := create(t, path)
	big := bytes.Repeat([]byte("y"), 1<<20)
	manifest := put(t, w, big)
	put(t, w, big)
	if err := w.Finish(manifest, ""); err != nil {
		t.Fatal(err)
	}
	read(t, path)
	if info, err := os.Stat(path); err != nil || info.Size() > 1<<20+10*block {
		t.Errorf("the archive has %d bytes: %v", info.Size(), err)
	}
}

func TestGivenUp(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	if err := os.WriteFile(path, []byte("before"), 0o640); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	w := create(t, path)
	if _, _, err := w.Blob(t.Context(), io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	w = create(t, path)
	if _, _, err := w.Blob(stopped, bytes.NewReader(make([]byte, 100))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"a.tar"}) {
		t.Errorf("left behind: %q", got)
	}
}

// TestReplaces keeps the mode of the file that was there, and goes through a link.
func TestReplaces(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "a.tar"), filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.WriteFile(path, []byte("before"), 0o600), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	w := create(t, link)
	if err := w.Finish(put(t, w, []byte("{}")), ""); err != nil {
		t.Fatal(err)
	}
	read(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %v: %v", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is gone: %v", err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"a.tar"}) {
		t.Errorf("left behind: %q", got)
	}
}

func TestUnsuitable(t *testing.T) {
	for _, path := range []string{"/dev/null", t.TempDir()} {
		if _, err := Create(path, at); !errors.Is(err, ErrUnsuitable) {
			t.Errorf("%s: got %v, want %v", path, err, ErrUnsuitable)
		}
	}
	if _, err := Create(filepath.Join(t.TempDir(), "absent/a.tar"), at); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

// FuzzArchive holds that an archive of any blobs, under any name, is a tar file whose index leads to each of them.
func FuzzArchive(f *testing.F) {
	f.Add([]byte("a layer"), []byte(`{"schemaVersion":2}`), "localhost/x:1")
	f.Add([]byte{}, []byte{0xff}, "\x00\n\"")
	f.Fuzz(func(t *testing.T, layer, manifest []byte, name string) {
		file := filepath.Join(t.TempDir(), "x.tar")
		w, err := Create(file, time.Unix(1700000000, 0))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		want := map[string][]byte{}
		var described v1.Descriptor
		for _, blob := range [][]byte{layer, layer, manifest} { // one of them twice
			sum, size, err := w.Blob(t.Context(), iotest.OneByteReader(bytes.NewReader(blob)))
			if err != nil || sum != digest.FromBytes(blob) || size != int64(len(blob)) {
				t.Fatalf("Blob: %s, %d, %v", sum, size, err)
			}
			want["blobs/sha256/"+sum.Encoded()] = blob
			described = v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: sum, Size: size}
		}
		if err := w.Finish(described, name); err != nil {
			t.Fatal(err)
		}
		packed, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer packed.Close()
		var index v1.Index
		for r := tar.NewReader(packed); ; {
			hdr, err := r.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if hdr.Name == "index.json" {
				if err := json.Unmarshal(data, &index); err != nil {
					t.Fatal(err)
				}
			}
			if blob, ok := want[hdr.Name]; ok && bytes.Equal(blob, data) {
				delete(want, hdr.Name)
			}
		}
		if len(want) > 0 || len(index.Manifests) != 1 || index.Manifests[0].Digest != described.Digest {
			t.Errorf("not in the archive: %q; index %+v", want, index)
		}
	})
}
