package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/failure"
	"go.podman.io/storage/pkg/unshare"
)

const oneEntry = `[{"id":"1d0ac3c5b5f3b8f6c1f7d5a5dcd1ab4f4a6f1e6ac7e2f4d4d7e5dfb1f3b0c9a8"}]`

// TestTwoDriversFolders opens stores in which an older podman has left its folders.
// fault: several-drivers, slow-driver
// look-alike: several-drivers, slow-driver
func TestTwoDriversFolders(t *testing.T) {
	for name, c := range map[string]struct {
		files  []string // with one entry each
		conf   string
		want   string // driver
		reason string
		notes  []string // words of each
	}{
		"nothing in them": {
			want: "overlay", reason: "works here, mounted by the kernel",
			notes: []string{"held the empty folder of the driver vfs, which is removed: overlay is used"},
		},
		"images of vfs": {
			files: []string{"vfs-images/images.json"},
			want:  "vfs", reason: "holds the store's images",
			notes: []string{"several drivers, overlay and vfs; vfs is used, which holds the store's images", "vfs (slow: "},
		},
		"images of overlay": {
			files: []string{"overlay-images/images.json"},
			want:  "overlay", reason: "holds the store's images",
			notes: []string{"overlay is used, which holds the store's images"},
		},
		"images of both": {
			files: []string{"overlay-images/images.json", "vfs-images/images.json"},
			want:  "overlay", reason: "holds the store's images",
			notes: []string{"overlay is used, which holds the store's images"},
		},
		"layers of vfs": {
			files: []string{"vfs-layers/layers.json"},
			want:  "vfs", reason: "holds the store's layers",
			notes: []string{"vfs is used, which holds the store's layers", "vfs (slow: "},
		},
		"layers of vfs, images of overlay": {
			files: []string{"vfs-layers/layers.json", "overlay-images/images.json"},
			want:  "overlay", reason: "holds the store's images",
			notes: []string{"overlay is used, which holds the store's images"},
		},
		"named": {
			files: []string{"overlay-images/images.json"}, conf: "[storage]\ndriver = \"vfs\"\n",
			want: "vfs", reason: "is named by ",
			notes: []string{"vfs is used, which is named by "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			for _, dir := range []string{"overlay/l", "vfs/dir"} {
				if err := os.MkdirAll(filepath.Join(p.Root, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for _, file := range c.files {
				p.file(t, file, oneEntry)
			}
			if c.conf != "" {
				conf(t, c.conf)
			}
			s := p.open(t)
			if s.Choice.Driver != c.want || !strings.HasPrefix(s.Choice.Reason, c.reason) {
				t.Errorf("driver %s, which %s; want %s, which %s", s.Choice.Driver, s.Choice.Reason, c.want, c.reason)
			}
			if len(p.notes) != len(c.notes) {
				t.Fatalf("notes are %q, want %q", p.notes, c.notes)
			}
			for i, note := range p.notes {
				if !strings.Contains(note, c.notes[i]) || strings.Contains(note, "\n") {
					t.Errorf("note %q, want %q", note, c.notes[i])
				}
			}
		})
	}
}

// TestSweepLeavesWhatIsInUse puts a layer's folder where the lists of layers and images don't mention it.
func TestSweepLeavesWhatIsInUse(t *testing.T) {
	p := newPlace(t)
	p.file(t, "vfs/dir/abc/file", "text")
	s := p.open(t)
	if s.Choice.Driver != "overlay" || !exists(filepath.Join(p.Root, "vfs/dir/abc/file")) {
		t.Errorf("driver %s, the folder is there: %v", s.Choice.Driver, exists(filepath.Join(p.Root, "vfs/dir/abc/file")))
	}
	if len(p.notes) != 1 || !strings.Contains(p.notes[0], "overlay is used, which is the faster one") {
		t.Errorf("notes are %q", p.notes)
	}
}

// TestOverlayWhereTheKernelRefuses puts stores on an overlay file system, which can't have another one's upper directory.
func TestOverlayWhereTheKernelRefuses(t *testing.T) {
	onOverlay := func(t *testing.T) *place {
		t.Helper()
		p := newPlace(t)
		dir := filepath.Dir(p.Root)
		for _, name := range []string{"lower", "upper", "work", "root"} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		data := trial{lower: dir + "/lower", upper: dir + "/upper", work: dir + "/work"}.options()
		if unshare.IsRootless() {
			data += ",userxattr"
		}
		mount(t, "overlay", p.Root, "overlay", 0, data)
		return p
	}
	t.Run("no fuse", func(t *testing.T) {
		t.Setenv("PATH", "/nonexistent")
		p := onOverlay(t)
		s := p.open(t)
		if s.Choice.Driver != "vfs" || !strings.Contains(s.Choice.Reason, "the kernel doesn't mount overlay here (overlayfs can't be the upper") ||
			!strings.Contains(s.Choice.Reason, "fuse-overlayfs isn't installed") {
			t.Errorf("driver %s, which %s", s.Choice.Driver, s.Choice.Reason)
		}
		if len(p.notes) != 1 || !strings.Contains(p.notes[0], "vfs (slow: ") {
			t.Errorf("notes are %q", p.notes)
		}
		if exists(filepath.Join(p.Root, "overlay")) {
			t.Error("the trial leaves a folder of overlay behind")
		}
		works(t, s)
	})
	t.Run("no fuse, overlay asked for", func(t *testing.T) {
		t.Setenv("PATH", "/nonexistent")
		p := onOverlay(t)
		p.Driver = "overlay"
		p.refused(t, failure.Machine, "overlay was asked for, but the kernel doesn't mount overlay here", "--root")
		if left, _ := filepath.Glob(filepath.Join(p.Root, "*")); len(left) != 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	t.Run("no fuse, images of overlay", func(t *testing.T) {
		t.Setenv("PATH", "/nonexistent")
		p := onOverlay(t)
		p.file(t, "overlay-images/images.json", oneEntry)
		p.refused(t, failure.Machine, "overlay holds the store's images, but", "fuse-overlayfs")
	})
	t.Run("fuse", func(t *testing.T) {
		p := onOverlay(t)
		s := p.open(t)
		if s.Choice.Driver == "vfs" {
			t.Skipf("no fuse-overlayfs here: %s", s.Choice.Reason)
		}
		if s.Choice.Driver != "overlay" || filepath.Base(s.Choice.MountProgram) != fuseOverlay || !strings.Contains(s.Choice.Reason, "fuse-overlayfs") || len(p.notes) != 0 {
			t.Errorf("driver %s by %s, which %s; notes %q", s.Choice.Driver, s.Choice.MountProgram, s.Choice.Reason, p.notes)
		}
		works(t, s)
	})
	t.Run("mount program that isn't there", func(t *testing.T) {
		p := onOverlay(t)
		p.Driver, p.DriverOptions = "overlay", []string{"overlay.mount_program=/nonexistent/mount"}
		p.refused(t, failure.Machine, "mount_program /nonexistent/mount can't be found", "vfs")
	})
}

// TestStoreOfAMountProgram opens a store that says it was written with a mount program.
func TestStoreOfAMountProgram(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	p := newPlace(t)
	p.file(t, "overlay/.has-mount-program", "true")
	if s := p.open(t); s.Choice.Driver != "overlay" || s.Choice.MountProgram != "" {
		t.Errorf("an empty one is opened with %s by %q", s.Choice.Driver, s.Choice.MountProgram)
	}
	p = newPlace(t)
	p.file(t, "overlay/.has-mount-program", "true")
	p.file(t, "overlay-layers/layers.json", oneEntry)
	p.refused(t, failure.Machine, "written with fuse-overlayfs and fuse-overlayfs isn't installed", "fuse-overlayfs")
}

// TestStaleAnswer opens a store about which an older kernel's refusal was written down.
func TestStaleAnswer(t *testing.T) {
	p := newPlace(t)
	if err := os.MkdirAll(filepath.Join(p.RunRoot, "overlay"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.RunRoot, "overlay", "overlay-false"), []byte("too old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := p.open(t); s.Choice.Driver != "overlay" {
		t.Errorf("driver %s, which %s", s.Choice.Driver, s.Choice.Reason)
	}
}

func TestDriverPriority(t *testing.T) {
	conf(t, "[storage]\ndriver_priority = [\"vfs\", \"overlay\"]\n")
	p := newPlace(t)
	if s := p.open(t); s.Choice.Driver != "vfs" || !strings.Contains(s.Choice.Reason, "driver_priority") {
		t.Errorf("driver %s, which %s", s.Choice.Driver, s.Choice.Reason)
	}
}

func TestHasEntries(t *testing.T) {
	for content, want := range map[string]bool{"": false, "[]": false, "null": false, "{": false, "[": false, oneEntry: true, "[{},{}]": true} {
		path := filepath.Join(t.TempDir(), "images.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := hasEntries(path); got != want {
			t.Errorf("%q: %v", content, got)
		}
	}
}
