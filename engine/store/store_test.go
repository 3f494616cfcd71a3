package store

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/failure"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

func TestOpenMakesAStore(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	if s.Choice.Driver == "vfs" {
		t.Logf("overlay doesn't work on this machine: %s", s.Choice.Reason)
	} else if s.Choice.Driver != "overlay" || s.Choice.Reason != "works here, mounted by the kernel" || len(p.notes) != 0 {
		t.Errorf("driver %s, which %s; notes %q", s.Choice.Driver, s.Choice.Reason, p.notes)
	}
	if s.Choice.Root != p.Root || s.Choice.RunRoot != p.RunRoot || s.GraphRoot() != p.Root || s.RunRoot() != p.RunRoot {
		t.Errorf("directories are %s and %s", s.Choice.Root, s.Choice.RunRoot)
	}
	works(t, s)
	again := p.open(t)
	if again.Choice.Driver != s.Choice.Driver || exists(filepath.Join(p.Root, "vfs")) != (s.Choice.Driver == "vfs") {
		t.Errorf("the second time the driver is %s, which %s", again.Choice.Driver, again.Choice.Reason)
	}
}

func TestOpenAsked(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T, p *place) string{
		"option": func(_ *testing.T, p *place) string {
			p.Driver = "vfs"
			return "was asked for"
		},
		"option over the rest": func(t *testing.T, p *place) string {
			t.Setenv("STORAGE_DRIVER", "overlay")
			t.Setenv("STORAGE_OPTS", "overlay.mountopt=nodev")
			p.Driver = "vfs"
			return "was asked for"
		},
		"environment": func(t *testing.T, _ *place) string {
			t.Setenv("STORAGE_DRIVER", "vfs")
			return "is named by STORAGE_DRIVER"
		},
		"storage.conf": func(t *testing.T, _ *place) string {
			return "is named by " + conf(t, "[storage]\ndriver = \"vfs\"\n")
		},
		"environment over storage.conf": func(t *testing.T, _ *place) string {
			conf(t, "[storage]\ndriver = \"overlay\"\n")
			t.Setenv("STORAGE_DRIVER", "vfs")
			return "is named by STORAGE_DRIVER"
		},
		"storage.conf with options for overlay": func(t *testing.T, _ *place) string {
			return "is named by " + conf(t, "[storage]\ndriver = \"vfs\"\n[storage.options]\nmountopt = \"nodev\"\nsize = \"1G\"\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			reason := ask(t, p)
			s := p.open(t)
			if s.Choice.Driver != "vfs" || s.Choice.Reason != reason || len(p.notes) != 0 {
				t.Errorf("driver %s, which %s (want: %s), notes %q", s.Choice.Driver, s.Choice.Reason, reason, p.notes)
			}
			works(t, s)
		})
	}
}

// conf writes a storage.conf for the rest of the test and returns its path.
func conf(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "storage.conf")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", path)
	return path
}

func TestOpenTakesDirectoriesFromStorageConf(t *testing.T) {
	p := newPlace(t)
	path := conf(t, "[storage]\ndriver = \"vfs\"\ngraphroot = \""+p.Root+"\"\nrunroot = \""+p.RunRoot+"\"\n")
	s := (&place{}).open(t)
	if s.Choice.Root != p.Root || s.Choice.RunRoot != p.RunRoot || s.Choice.Config != path {
		t.Errorf("directories %s and %s, configuration %s", s.Choice.Root, s.Choice.RunRoot, s.Choice.Config)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Run("driver", func(t *testing.T) {
		p := newPlace(t)
		p.Driver = "ext4"
		p.refused(t, failure.Usage, `driver "ext4" was asked for`, "overlay, vfs and zfs")
		if exists(p.Root) {
			t.Error("the root was made all the same")
		}
	})
	t.Run("driver of storage.conf", func(t *testing.T) {
		p := newPlace(t)
		path := conf(t, "[storage]\ndriver = \"btrfs\"\n")
		p.refused(t, failure.Usage, path, "overlay, vfs and zfs")
	})
	t.Run("option", func(t *testing.T) {
		p := newPlace(t)
		p.Driver, p.DriverOptions = "vfs", []string{"vfs.speed=high"}
		p.refused(t, failure.Usage, "speed", "DRIVER.NAME=VALUE")
		if exists(filepath.Join(p.Root, "vfs")) {
			t.Error("the driver's folder stays behind")
		}
	})
	t.Run("option without a value", func(t *testing.T) {
		p := newPlace(t)
		p.DriverOptions = []string{"fast"}
		p.refused(t, failure.Usage, "fast", "DRIVER.NAME=VALUE")
	})
	t.Run("option of the environment", func(t *testing.T) {
		p := newPlace(t)
		t.Setenv("STORAGE_OPTS", "vfs.speed=high")
		t.Setenv("STORAGE_DRIVER", "vfs")
		p.refused(t, failure.Machine, "speed", "STORAGE_OPTS")
	})
	t.Run("storage.conf", func(t *testing.T) {
		p := newPlace(t)
		path := conf(t, "[storage\n")
		p.refused(t, failure.Machine, path, "Correct the file")
	})
	t.Run("missing storage.conf", func(t *testing.T) {
		p := newPlace(t)
		t.Setenv("CONTAINERS_STORAGE_CONF", "/nonexistent/storage.conf")
		p.refused(t, failure.Machine, "/nonexistent/storage.conf", "CONTAINERS_STORAGE_CONF")
	})
	t.Run("root below a file", func(t *testing.T) {
		p := newPlace(t)
		p.Root = "/dev/null/store"
		p.refused(t, failure.Machine, "/dev/null/store", "--root")
	})
	t.Run("read-only run root", func(t *testing.T) {
		p := newPlace(t)
		p.RunRoot = t.TempDir()
		mount(t, "none", p.RunRoot, "tmpfs", unix.MS_RDONLY, "")
		p.refused(t, failure.Machine, p.RunRoot+": it is on a read-only file system", "--runroot")
	})
	t.Run("another's root", func(t *testing.T) {
		if !unshare.IsRootless() {
			t.Skip("all directories are root's")
		}
		p := newPlace(t)
		p.Root = "/usr/store"
		p.refused(t, failure.Machine, "/usr, which belongs to another user", "of your own")
	})
}

// mount mounts something until the test is over.
func mount(t *testing.T, source, dir, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, dir, kind, flags, data); err != nil {
		t.Fatalf("mounting %s on %s: %v", kind, dir, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func TestRunRootOfARootAlone(t *testing.T) {
	a, b := newPlace(t), newPlace(t)
	a.RunRoot, b.RunRoot = "", ""
	a.Driver, b.Driver = "vfs", "vfs"
	// In the tests' own home, not where the user's real stores are.
	conf(t, "[storage]\nrunroot = \""+t.TempDir()+"\"\n")
	first, second := a.open(t).Choice.RunRoot, b.open(t).Choice.RunRoot
	if first == second {
		t.Errorf("both have the run root %s", first)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(a.Root, link); err != nil {
		t.Fatal(err)
	}
	a.Root = link
	if again := a.open(t).Choice.RunRoot; again != first {
		t.Errorf("by another name the run root is %s, was %s", again, first)
	}
}

func TestSingleID(t *testing.T) {
	owner := unmapped(t)
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			p := newPlace(t)
			p.Driver = driver
			if _, err := tryLayer(p.open(t), owner); err == nil {
				t.Fatal("a file of an ID that isn't mapped was unpacked")
			}
			p = newPlace(t)
			p.Driver, p.SingleID = driver, true
			layer(t, p.open(t), owner)
			p = newPlace(t)
			p.Driver, p.SingleID, p.DriverOptions = driver, true, []string{driver + ".ignore_chown_errors=false"}
			if s := p.open(t); strings.Contains(strings.Join(s.GraphOptions(), " "), "true") {
				t.Errorf("the caller's option is overruled: %q", s.GraphOptions())
			}
		})
	}
}

// unmapped returns a user ID that isn't mapped here.
func unmapped(t *testing.T) string {
	t.Helper()
	uids, _, err := unshare.GetHostIDMappings("")
	if err != nil {
		t.Fatal(err)
	}
	last := uids[len(uids)-1]
	if end := uint64(last.ContainerID) + uint64(last.Size); end < math.MaxUint32 {
		return strconv.FormatUint(end, 10)
	}
	t.Skip("all IDs are mapped")
	return ""
}

func TestCloseWithAMountedLayer(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	id := layer(t, s, "")
	if _, err := s.Mount(id, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if _, err := s.Unmount(id, true); err != nil {
		t.Error(err)
	}
}
