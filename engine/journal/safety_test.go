package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What journals name is deleted, so nobody else may write any.
func TestDirectoryOfOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	check(t, os.Mkdir(dir, 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), []byte("store \"/s\" \"vfs\" \"1\"\n"), 0o600))
	check(t, os.Chmod(dir, 0o770))
	for _, call := range map[string]func() error{
		"begin": func() error { _, err := Begin(t.Context(), dir, Header{"/s", "vfs", 1}); return err },
		"dead": func() error {
			dead, err := Dead(t.Context(), dir)
			if len(dead) > 0 {
				t.Errorf("claimed %+v", dead)
			}
			return err
		},
	} {
		if err := call(); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "0770") {
			t.Errorf("others can write to it: %v", err)
		}
	}
	check(t, os.Chmod(dir, 0o755)) // reading harms nobody
	link := dir + "-link"
	check(t, os.Symlink(dir, link))
	if _, err := Begin(t.Context(), link, Header{"/s", "vfs", 1}); err == nil {
		t.Error("it may lead anywhere")
	}
	j, err := Begin(t.Context(), dir, Header{"/s", "vfs", 1})
	check(t, err)
	check(t, j.End())
}

// Whether a run lives is asked of paths that other processes choose.
func TestLiveWaitsForNobody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	const id = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	check(t, os.Mkdir(dir, 0o700))
	check(t, unix.Mkfifo(filepath.Join(dir, id), 0o600))
	live := make(chan bool)
	go func() { live <- Live(dir, id) }()
	select {
	case lives := <-live:
		if lives {
			t.Error("a pipe is taken for a journal")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for the other end of a pipe")
	}
	j, err := Begin(t.Context(), dir, Header{"/s", "vfs", 1})
	check(t, err)
	if !Live(dir, j.ID()) {
		t.Error("a run that lives isn't seen")
	}
	check(t, os.Chmod(dir, 0o777))
	if Live(dir, j.ID()) {
		t.Error("anybody could have put it there")
	}
	check(t, j.End())
}

// One journal that can't be read doesn't keep others from being claimed.
func TestBadJournalIsPassedOver(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	dir := filepath.Join(t.TempDir(), "rlbuild")
	check(t, os.Mkdir(dir, 0o700))
	for id, mode := range map[string]os.FileMode{"ABCDEFGHIJKLMNOPQRSTUVWXYZ": 0, "BBCDEFGHIJKLMNOPQRSTUVWXYZ": 0o600} {
		check(t, os.WriteFile(filepath.Join(dir, id), []byte("store \"/s\" \"vfs\" \"1\"\n"), mode))
	}
	dead, err := Dead(t.Context(), dir)
	if len(dead) != 1 || dead[0].ID[0] != 'B' || err == nil || !strings.Contains(err.Error(), "the journal ABC") {
		t.Errorf("%+v, %v", dead, err)
	}
}

func TestLockIsGivenUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	check(t, os.Mkdir(dir, 0o700))
	unlock, err := Lock(t.Context(), dir)
	check(t, err)
	cause := errors.New("interrupted")
	ctx, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { stop(cause) })
	if _, err := Begin(ctx, dir, Header{"/s", "vfs", 1}); !errors.Is(err, cause) {
		t.Errorf("begin: %v", err)
	}
	if _, err := Lock(ctx, dir); !errors.Is(err, cause) {
		t.Errorf("lock: %v", err)
	}
	unlock()
	again, err := Lock(t.Context(), dir)
	check(t, err)
	again()
}

// TestNumberGivenOutAnew: a run lives without its run root, and in the new one a journal has got the number of its own, as on
// a new file system in memory. The badge of one is made to look so: it names the number of a file that a third holds.
func TestNumberGivenOutAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	j, err := Begin(t.Context(), dir, Header{"/s", "vfs", 1})
	check(t, err)
	badge, err := j.Badge()
	check(t, err)
	var stat unix.Stat_t
	check(t, unix.Stat(j.path, &stat))
	number := fmt.Sprint(stat.Ino)
	gone := strings.Replace(badge, j.ID(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1) // a run whose journal had the same number
	if strings.Fields(gone)[3] != number {
		t.Fatalf("the badge is %q", gone)
	}
	if FateOf(t.Context(), gone, dir) != Orphaned {
		t.Error("the lock is that of the journal that is there")
	}
	// Its own directory's lock, on top of which nobody is.
	var top unix.Stat_t
	check(t, unix.Stat(dir, &top))
	if FateOf(t.Context(), strings.Replace(gone, " "+number+" ", fmt.Sprintf(" %d ", top.Ino), 1), dir) != Orphaned {
		t.Error("the lock is the directory's")
	}
	// The file without a name, of which only the lock is seen.
	other, err := os.OpenFile(j.path, os.O_RDWR, 0)
	check(t, err)
	defer other.Close()
	check(t, flock(j.file, unix.LOCK_SH))
	check(t, flock(other, unix.LOCK_SH))
	if FateOf(t.Context(), gone, dir) != Alive {
		t.Error("there are more locks on files of that number than journals")
	}
	check(t, j.End())
}
