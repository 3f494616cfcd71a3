package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// names are what files are called: plain, long, hostile.
var names = []string{"a", "b", "etc", "file", "with space", "ümlaut", "not\xffutf8", "new\nline", ".hidden", "quote\"<&>",
	strings.Repeat("n", 120), strings.Repeat("long", 60), "z"}

// tree fills directories with what overlay would put into an upper directory, at random, and returns the changes.
func tree(t *testing.T, random *rand.Rand) Changes {
	t.Helper()
	c := Changes{Dir: t.TempDir(), Lower: []string{t.TempDir(), t.TempDir()}}
	for _, lower := range c.Lower {
		grow(t, random, lower, 2, false)
	}
	grow(t, random, c.Dir, 4, true)
	return c
}

func grow(t *testing.T, random *rand.Rand, dir string, depth int, upper bool) {
	t.Helper()
	for _, i := range random.Perm(len(names))[:random.IntN(len(names))] {
		file := filepath.Join(dir, names[i])
		if len(file) > 3000 {
			return
		}
		kind := random.IntN(12)
		switch {
		case kind < 3 && depth > 0:
			check(t, os.Mkdir(file, 0o700))
			grow(t, random, file, depth-1, upper)
			if random.IntN(4) == 0 && upper {
				check(t, unix.Lsetxattr(file, archive.GetOverlayXattrName("opaque"), []byte("y"), 0))
			}
		case kind == 3:
			check(t, os.Symlink(strings.Repeat("target/", 1+random.IntN(30)), file))
		case kind == 4:
			check(t, unix.Mknod(file, unix.S_IFCHR, 0))
			if upper && random.IntN(2) == 0 { // overlay links whiteouts
				check(t, os.Link(file, filepath.Join(dir, "0"+names[i])))
			}
		case kind == 5:
			check(t, unix.Mkfifo(file, 0o600))
		case kind == 6:
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			check(t, err)
			if len(file) < 100 {
				check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: file}))
			}
			check(t, unix.Close(fd))
			continue
		default:
			check(t, os.WriteFile(file, content(random), 0o600))
			if random.IntN(5) == 0 {
				check(t, os.Link(file, file+"3"))
			}
			if random.IntN(10) == 0 {
				check(t, os.Truncate(file, int64(random.IntN(1<<20))))
			}
		}
		if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		dress(t, random, file)
	}
}

// content is of a length around those where something changes.
func content(random *rand.Rand) []byte {
	edges := []int{0, 1, 511, 512, 513, 4096, bufferSize - 1, bufferSize, bufferSize + 1, 3 * bufferSize, (ring + 2) * bufferSize}
	data := make([]byte, edges[random.IntN(len(edges))]+random.IntN(3))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// dress gives a file an owner, a mode, attributes and a time.
func dress(t *testing.T, random *rand.Rand, file string) {
	t.Helper()
	owners := []int{0, 0, 1, 1000, 65000}
	check(t, os.Lchown(file, owners[random.IntN(len(owners))], owners[random.IntN(len(owners))]))
	info, err := os.Lstat(file)
	check(t, err)
	if info.Mode()&os.ModeSymlink == 0 && info.Mode()&os.ModeCharDevice == 0 {
		modes := []uint32{0o644, 0o755, 0, 0o4755, 0o2755, 0o1777, 0o6711, 0o600}
		check(t, unix.Chmod(file, modes[random.IntN(len(modes))]))
	}
	if info.Mode().IsRegular() || info.IsDir() {
		for _, name := range []string{"user.one", "user.ünicode", "user.overlay.origin"} {
			if random.IntN(6) == 0 {
				check(t, unix.Lsetxattr(file, name, []byte("value\x00\xff"), 0))
			}
		}
	}
	if info.Mode().IsRegular() && random.IntN(6) == 0 {
		// cap_net_raw=ep, as VFS_CAP_REVISION_2
		check(t, unix.Lsetxattr(file, "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	}
	times := []time.Time{time.Unix(-100, 7), time.Unix(0, 0), time.Unix(1700000000, 999999999), time.Now(), time.Unix(1<<33, 1)}
	at := unix.NsecToTimespec(times[random.IntN(len(times))].UnixNano())
	check(t, unix.UtimesNanoAt(unix.AT_FDCWD, file, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// describe lists all that a tree is, a line per file.
func describe(t *testing.T, root string) []string {
	t.Helper()
	var lines []string
	first := map[uint64]string{}
	check(t, filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error {
		if err != nil || file == root {
			return err
		}
		name, _ := filepath.Rel(root, file)
		info, err := os.Lstat(file)
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%q %o %d:%d %d.%09d dev %d", name, stat.Mode, stat.Uid, stat.Gid, stat.Mtim.Sec, stat.Mtim.Nsec, stat.Rdev)
		if stat.Mode&unix.S_IFMT == unix.S_IFCHR {
			line = fmt.Sprintf("%q whiteout %d:%d %o", name, stat.Uid, stat.Gid, stat.Mode) // made now
		}
		if !info.IsDir() {
			if first[stat.Ino] == "" {
				first[stat.Ino] = name
			}
			line += fmt.Sprintf(" size %d same as %q", stat.Size, first[stat.Ino])
		}
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" sum %x", checksum(0, data))
		}
		if target, err := os.Readlink(file); err == nil {
			line += fmt.Sprintf(" -> %q", target)
		}
		attributes, err := system.Llistxattr(file)
		if err != nil {
			return err
		}
		slices.Sort(attributes)
		for _, a := range attributes {
			value, err := system.Lgetxattr(file, a)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %s=%q", a, value)
		}
		// Storage's unpacking makes 1970 of all times before; the stream has them.
		lines = append(lines, strings.Replace(line, " -100.000000000 ", " 0.000000000 ", 1))
		return nil
	}))
	return lines
}
