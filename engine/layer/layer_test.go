package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/unshare"

	"golang.org/x/sys/unix"
)

// TestSameAsStorage makes layers of random trees and holds all that comes of them against what storage makes.
func TestSameAsStorage(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		changes := tree(t, random)
		if seed%3 == 0 {
			changes.Omit = func(hdr *tar.Header) bool { return crc64.Checksum([]byte(hdr.Name), table)%5 == 0 }
		}
		tarred := reference(t, changes)
		var stream, split bytes.Buffer
		to := t.TempDir()
		if changes.Omit != nil {
			to = "" // unpacking fails too where the file that others are links to is omitted; see TestOmitted
		}
		summary, err := changes.WriteTar(t.Context(), &stream, Options{CopyTo: to, TarSplit: &split})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !bytes.Equal(stream.Bytes(), tarred) {
			t.Fatalf("seed %d: the stream differs:\n%s\nwant\n%s", seed, list(stream.Bytes()), list(tarred))
		}
		if summary.DiffID != digest.FromBytes(tarred) || summary.Size != int64(len(tarred)) {
			t.Errorf("seed %d: digest %s and size %d of other bytes", seed, summary.DiffID, summary.Size)
		}
		if packed := pack(t, tarred); !bytes.Equal(split.Bytes(), packed) {
			t.Fatalf("seed %d: tar-split is\n%s\nwant\n%s", seed, split.Bytes(), packed)
		}
		owners(t, tarred, summary)
		if changes.Omit != nil {
			continue
		}
		unpacked := t.TempDir()
		check(t, archive.Unpack(bytes.NewReader(tarred), unpacked, &archive.TarOptions{
			WhiteoutFormat: archive.OverlayWhiteoutFormat, InUserNS: unshare.IsRootless(),
		}))
		got, want := describe(t, to), describe(t, unpacked)
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("seed %d: the copy has\n%s\nwant\n%s", seed, got[i], want[i])
			}
		}
		if len(got) != len(want) {
			t.Fatalf("seed %d: the copy has %d files, want %d", seed, len(got), len(want))
		}
	}
}

// reference is the stream as storage writes it and buildah's filter leaves it.
func reference(t *testing.T, c Changes) []byte {
	t.Helper()
	stream, err := archive.TarWithOptions(c.Dir, &archive.TarOptions{
		WhiteoutFormat: archive.OverlayWhiteoutFormat, WhiteoutData: c.Lower,
	})
	check(t, err)
	defer stream.Close()
	if c.Omit == nil {
		data, err := io.ReadAll(stream)
		check(t, err)
		return data
	}
	var filtered bytes.Buffer
	r, w := tar.NewReader(stream), tar.NewWriter(&filtered)
	for {
		hdr, err := r.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		if c.Omit(hdr) {
			continue
		}
		check(t, w.WriteHeader(hdr))
		_, err = io.Copy(w, r)
		check(t, err)
	}
	check(t, w.Close())
	return filtered.Bytes()
}

// pack is what tar-split makes of a stream.
func pack(t *testing.T, stream []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	payload, done, err := asm.NewInputTarStreamWithDone(bytes.NewReader(stream), storage.NewJSONPacker(&packed), nil)
	check(t, err)
	_, err = io.Copy(io.Discard, payload)
	check(t, err)
	check(t, <-done)
	return packed.Bytes()
}

// owners checks the owners that a summary lists against the stream.
func owners(t *testing.T, stream []byte, s Summary) {
	t.Helper()
	var uids, gids []uint32
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		hdr, err := r.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		if !strings.HasPrefix(filepath.Base(hdr.Name), archive.WhiteoutPrefix) {
			uids, gids = append(uids, uint32(hdr.Uid)), append(gids, uint32(hdr.Gid))
		}
	}
	slices.Sort(uids)
	slices.Sort(gids)
	if !slices.Equal(s.UIDs, slices.Compact(uids)) || !slices.Equal(s.GIDs, slices.Compact(gids)) {
		t.Errorf("owners are %v and %v, want %v and %v", s.UIDs, s.GIDs, uids, gids)
	}
}

// list names a stream's entries, for messages.
func list(stream []byte) string {
	var text strings.Builder
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		hdr, err := r.Next()
		if err != nil {
			return text.String() + err.Error()
		}
		text.WriteString(strings.TrimSpace(hdr.FileInfo().Mode().String()+" "+hdr.Name+" "+hdr.Linkname) + "\n")
	}
}

func TestChecksum(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		data := make([]byte, random.IntN(100))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		cut := random.IntN(len(data) + 1)
		if got, want := checksum(checksum(0, data[:cut]), data[cut:]), crc64.Checksum(data, table); got != want {
			t.Fatalf("checksum of %x in two parts of %d is %x, want %x", data, cut, got, want)
		}
	}
}

// TestOmitted checks that a copy has what the stream has, and omitted directories only where something is in them.
func TestOmitted(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	for _, name := range []string{"empty", "full", "full/inner"} {
		check(t, os.Mkdir(filepath.Join(dir, name), 0o750))
	}
	check(t, os.WriteFile(filepath.Join(dir, "full/inner/file"), []byte("text"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "target"), nil, 0o600))
	omit := []string{"empty/", "full/", "target"}
	_, err := Changes{Dir: dir, Omit: func(hdr *tar.Header) bool { return slices.Contains(omit, hdr.Name) }}.
		WriteTar(t.Context(), nil, Options{CopyTo: to})
	check(t, err)
	var got []string
	for _, line := range describe(t, to) {
		got = append(got, line[:strings.Index(line, " ")])
	}
	if want := []string{`"full"`, `"full/inner"`, `"full/inner/file"`}; !slices.Equal(got, want) {
		t.Errorf("the copy has %s, want %s", got, want)
	}
	if info, err := os.Stat(filepath.Join(to, "full")); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("full is %v, %v", info, err)
	}
}

// failing takes some bytes and then fails, as a full disk or a closed connection does.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriterFails(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "large"), make([]byte, 64*bufferSize), 0o600))
	for _, name := range []string{"a", "b", "z"} {
		check(t, os.WriteFile(filepath.Join(dir, name), make([]byte, 100), 0o600))
	}
	for _, left := range []int{0, 5000, 10 * bufferSize, 64*bufferSize + 3000} {
		_, err := Changes{Dir: dir}.WriteTar(t.Context(), &failing{left}, Options{CopyTo: t.TempDir()})
		if !errors.Is(err, errFull) {
			t.Errorf("after %d bytes: %v", left, err)
		}
	}
}

// TestChanged changes files between the walk and the reading, where Omit is called.
func TestChanged(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"grown":    func(file string) error { return os.Truncate(file, 3*bufferSize+1) },
		"shrunk":   func(file string) error { return os.Truncate(file, bufferSize) },
		"emptied":  func(file string) error { return os.Truncate(file, 0) },
		"gone":     os.Remove,
		"replaced": func(file string) error { return errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file)) },
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		check(t, os.WriteFile(file, make([]byte, 3*bufferSize), 0o600))
		c := Changes{Dir: dir, Omit: func(*tar.Header) bool { check(t, change(file)); return false }}
		if summary, err := c.WriteTar(t.Context(), nil, Options{CopyTo: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "file") {
			t.Errorf("%s: %v, %v", name, summary, err)
		}
	}
}

// TestLinkManyNames: a file with more names than it may be given again is copied, with all of them.
func TestLinkManyNames(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	first := filepath.Join(dir, "0")
	check(t, os.WriteFile(first, []byte("text"), 0o600))
	for i := 1; i < manyNames; i++ {
		check(t, os.Link(first, filepath.Join(dir, fmt.Sprint(i))))
	}
	_, err := Changes{Dir: dir}.WriteTar(t.Context(), nil, Options{CopyTo: to, Link: true})
	check(t, err)
	for _, dir := range []string{dir, to} {
		var st unix.Stat_t
		check(t, unix.Stat(filepath.Join(dir, "0"), &st))
		if st.Nlink != manyNames {
			t.Errorf("%s has %d names", dir, st.Nlink)
		}
	}
}

// TestLink makes a layer's directory of links: it has what a copy has, and the changes are as they were.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"empty", "full"} {
		check(t, os.Mkdir(filepath.Join(dir, name), 0o750))
	}
	check(t, os.WriteFile(filepath.Join(dir, "full/file"), []byte("text"), 0o600))
	check(t, os.Link(filepath.Join(dir, "full/file"), filepath.Join(dir, "full/other")))
	check(t, os.Symlink("file", filepath.Join(dir, "full/symlink")))
	check(t, os.WriteFile(filepath.Join(dir, "target"), nil, 0o600))
	old := time.Unix(1e9, 0)
	check(t, filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type() == fs.ModeSymlink {
			return err
		}
		return os.Chtimes(name, old, old)
	}))
	at := unix.Timespec{Sec: old.Unix()}
	check(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, "full/symlink"), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
	c := Changes{Dir: dir, Omit: func(hdr *tar.Header) bool { return hdr.Name == "target" || hdr.Name == "empty/" }}
	before := describe(t, dir)
	copied, linked := t.TempDir(), t.TempDir()
	want, err := c.WriteTar(t.Context(), nil, Options{CopyTo: copied})
	check(t, err)
	got, err := c.WriteTar(t.Context(), nil, Options{CopyTo: linked, Link: true})
	check(t, err)
	if got.DiffID != want.DiffID || got.Size != want.Size {
		t.Errorf("linked %v, copied %v", got, want)
	}
	if got, want := describe(t, linked), describe(t, copied); !slices.Equal(got, want) {
		t.Errorf("linked %q, copied %q", got, want)
	}
	if after := describe(t, dir); !slices.Equal(after, before) {
		t.Errorf("the changes were %q, and are %q", before, after)
	}
	for _, name := range []string{"full/file", "full/symlink"} {
		one, err := os.Lstat(filepath.Join(dir, name))
		check(t, err)
		two, err := os.Lstat(filepath.Join(linked, name))
		check(t, err)
		if !os.SameFile(one, two) {
			t.Errorf("%s isn't the same file", name)
		}
	}
}
