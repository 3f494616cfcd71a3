package layer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"
)

// FuzzNames makes layers of trees whose names and links are anything, and holds the stream, and the notes that storage needs
// to make it again, against what storage itself makes. Each line of text is a kind and a name, and for links a target.
func FuzzNames(f *testing.F) {
	f.Add("f a\nd b\nf b/c\nl link\t../../etc/passwd\nh hard\ta")
	f.Add("f .wh.a\nf .wh..wh..opq\nd .wh.dir\nw gone\no opaque\nf \xff\xfe\nf new\x01line\nf back\\slash")
	f.Add("f " + strings.Repeat("n", 255) + "\nd " + strings.Repeat("d", 255) + "\nf " + strings.Repeat("d", 255) + "/" + strings.Repeat("e", 200))
	f.Add("l l\t" + strings.Repeat("t/", 300) + "\nx a\tvalue\nf PaxHeaders.0\nf =\nf a=b\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := Changes{Dir: t.TempDir(), Lower: []string{t.TempDir()}}
		for line := range strings.SplitSeq(text, "\n") {
			if len(line) > 2 {
				plant(c.Dir, line[0], line[2:])
			}
		}
		want := reference(t, c)
		var stream, split bytes.Buffer
		to := t.TempDir()
		_, err := c.WriteTar(t.Context(), &stream, Options{CopyTo: to, TarSplit: &split})
		if errors.Is(err, ErrReserved) { // the library's turn; without a copy it is no problem
			stream.Reset()
			split.Reset()
			_, err = c.WriteTar(t.Context(), &stream, Options{TarSplit: &split})
			to = ""
		}
		check(t, err)
		if !bytes.Equal(stream.Bytes(), want) {
			t.Fatalf("the stream differs:\n%s\nwant\n%s", list(stream.Bytes()), list(want))
		}
		if packed := pack(t, want); !bytes.Equal(split.Bytes(), packed) {
			t.Fatalf("tar-split is\n%s\nwant\n%s", split.Bytes(), packed)
		}
		unpacked := t.TempDir()
		err = archive.Unpack(bytes.NewReader(want), unpacked, &archive.TarOptions{WhiteoutFormat: archive.OverlayWhiteoutFormat})
		if err != nil || to == "" {
			return // storage refuses the layer: a link that leads out of it; it does when it is pulled, too
		}
		got, expected := strings.Join(describe(t, to), "\n"), strings.Join(describe(t, unpacked), "\n")
		if got != expected {
			t.Fatalf("the copy has\n%s\nwant\n%s", got, expected)
		}
	})
}

// plant makes a file of that kind, if the file system takes the name; parents have to be there.
func plant(dir string, kind byte, what string) {
	name, target, _ := strings.Cut(what, "\t")
	if !filepath.IsLocal(name) || len(name) > 2000 {
		return
	}
	file := filepath.Join(dir, name)
	switch kind {
	case 'f':
		_ = os.WriteFile(file, []byte(what), 0o640)
	case 'd':
		_ = os.Mkdir(file, 0o750)
	case 'l':
		_ = os.Symlink(target, file)
	case 'h':
		if filepath.IsLocal(target) {
			_ = os.Link(filepath.Join(dir, target), file)
		}
	case 'w':
		_ = unix.Mknod(file, unix.S_IFCHR, 0)
	case 'p':
		_ = unix.Mkfifo(file, 0o600)
	case 'o':
		if os.Mkdir(file, 0o700) == nil {
			_ = unix.Lsetxattr(file, archive.GetOverlayXattrName("opaque"), []byte("y"), 0)
		}
	case 'x':
		_ = unix.Lsetxattr(file, "user."+target, []byte(target), 0)
	}
}
