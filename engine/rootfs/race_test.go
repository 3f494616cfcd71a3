package rootfs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"golang.org/x/sys/unix"
)

// luck is how long a race is tried for until both of its outcomes were seen.
const luck = time.Minute

// flip exchanges two entries of the root as fast as it can, from before it returns until the returned function is
// called. RENAME_EXCHANGE is atomic, so the name is never missing and every lookup meets one of the two.
func flip(t *testing.T, root, a, b string) (stop func()) {
	t.Helper()
	done, started := make(chan struct{}), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for i := 0; ; i++ {
			if i == 1 {
				close(started)
			}
			select {
			case <-done:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, a), unix.AT_FDCWD, filepath.Join(root, b), unix.RENAME_EXCHANGE)
			}
		}
	})
	<-started
	return func() {
		close(done)
		running.Wait()
	}
}

// While a directory turns into a link to outside and back, whatever is done below it happens inside or fails; hostile
// compares outside at the end. The link names the host's path and climbs, so both kinds of resolving are tried.
func TestSwappedDirectory(t *testing.T) {
	for _, target := range []string{"absolute", "climbing"} {
		t.Run(target, func(t *testing.T) {
			tree, outside := hostile(t)
			root := tree.Dir()
			must(t, tree.Mkdir("flip/sub", 0o755, true))
			must(t, tree.WriteFile("flip/secret", []byte("inside"), rootfs.Write{}))
			link := outside
			if target == "climbing" {
				link = "../outside"
			}
			must(t, tree.Symlink(link, "flop"))
			stop := flip(t, root, "flip", "flop")
			defer stop()
			worked := 0
			// With few that met the directory the test would show nothing.
			for start, i := time.Now(), 0; time.Since(start) < time.Second || worked < 50 && time.Since(start) < luck; i++ {
				worked += belowFlip(t, tree, i)
			}
			if worked < 50 {
				t.Errorf("only %d operations met the directory in %v", worked, luck)
			}
		})
	}
}

// belowFlip does one round of operations below "flip" and returns how many of them succeeded.
func belowFlip(t *testing.T, tree *rootfs.FS, i int) (worked int) {
	count := func(err error) {
		if err == nil {
			worked++
		}
	}
	mode := fs.FileMode(0o666)
	data, err := tree.ReadFile("flip/secret", 0)
	if strings.Contains(string(data), secret) {
		t.Fatal("read a file outside")
	}
	count(err)
	name := fmt.Sprint("flip/new", i%7)
	count(tree.WriteFile(name, []byte("x"), rootfs.Write{Mode: &mode}))
	count(tree.WriteFile("flip/secret", []byte("inside"), rootfs.Write{}))
	count(tree.Mkdir("flip/sub/a/b", 0o700, true))
	count(tree.Symlink("x", "flip/link"))
	count(tree.Chmod("flip/secret", mode))
	count(tree.Rename(name, "flip/other"))
	count(tree.Chown("flip", os.Getuid(), os.Getgid(), true))
	count(tree.Remove("flip/link", false))
	count(tree.Remove("flip/sub/a", true))
	names, err := tree.Glob("flip/**")
	count(err)
	for _, name := range names {
		if strings.HasSuffix(name, "sub/secret") {
			t.Fatalf("listed a file outside: %q", names)
		}
	}
	return worked
}

// The last component itself turns from a file into a link to outside: a write must never end up behind the link.
func TestSwappedFile(t *testing.T) {
	tree, outside := hostile(t)
	must(t, tree.WriteFile("flip", []byte("inside"), rootfs.Write{}))
	must(t, tree.Symlink(outside+"/secret", "flop"))
	stop := flip(t, tree.Dir(), "flip", "flop")
	defer stop()
	mode := fs.FileMode(0o600)
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		_ = tree.WriteFile("flip", []byte("inside"), rootfs.Write{})
		_ = tree.Chmod("flip", mode)
		_ = tree.Chown("flip", os.Getuid(), os.Getgid(), false)
		if data, _ := tree.ReadFile("flip", 0); strings.Contains(string(data), secret) {
			t.Fatal("read a file outside")
		}
	}
}

// A recursive removal meets a directory that turns into a link to outside between being found to be a directory and
// being entered. A removal that catches the link deletes it and so ends the exchange; hence many rounds. The window is
// small: TestBelow checks without luck that what is entered is never a link.
func TestSwappedDuringRemoval(t *testing.T) {
	tree, _ := hostile(t)
	entered := 0
	// If none ever entered the directory the test would show nothing.
	for start := time.Now(); time.Since(start) < 2*time.Second || entered == 0 && time.Since(start) < luck; {
		must(t, tree.Mkdir("flip/sub", 0o755, true))
		must(t, tree.WriteFile("flip/secret", nil, rootfs.Write{}))
		must(t, tree.Symlink("../outside", "flop"))
		stop := flip(t, tree.Dir(), "flip", "flop")
		_ = tree.Remove("flip", true)
		stop()
		if _, err := tree.Lstat("flop"); err == nil {
			if names, err := tree.ReadDir("flop"); err == nil && len(names) < 2 {
				entered++
			}
		}
		_ = tree.Remove("flip", true)
		_ = tree.Remove("flop", true)
	}
	if entered == 0 {
		t.Errorf("no removal entered the directory in %v", luck)
	}
}
