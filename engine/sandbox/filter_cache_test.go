package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFilterCache reads a kept filter back, and none that was cut, changed, or could be another's.
func TestFilterCache(t *testing.T) {
	dir := t.TempDir()
	first, err := NewFilter(nil, []string{"CAP_CHOWN"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewFilter(nil, []string{"CAP_CHOWN", "CAP_SYS_ADMIN"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "rlbuild-filter-*"))
	if err != nil || len(kept) != 2 || bytes.Equal(first.program, other.program) {
		t.Fatalf("kept %q, %v; programs of %d and %d bytes", kept, err, len(first.program), len(other.program))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, name := range kept {
		program := readFilter(name)
		if !bytes.Equal(program, first.program) && !bytes.Equal(program, other.program) {
			t.Errorf("%s: not what was compiled", name)
		}
	}
	name := kept[0]
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(good)
	changed[len(changed)-1] ^= 1
	for what, spoil := range map[string]func() error{
		"cut":           func() error { return os.Truncate(name, int64(len(good)-8)) },
		"empty":         func() error { return os.Truncate(name, 0) },
		"changed":       func() error { return os.WriteFile(name, changed, 0o600) },
		"open to write": func() error { return os.Chmod(name, 0o620) },
		"a link":        func() error { return os.Symlink(kept[1], name) },
		"a pipe":        func() error { return unix.Mkfifo(name, 0o600) },
		"another's": func() error {
			if os.Geteuid() != 0 {
				return os.WriteFile(name, nil, 0o600) // only root can give files away
			}
			if err := os.WriteFile(name, good, 0o600); err != nil {
				return err
			}
			return os.Chown(name, 12345, -1)
		},
	} {
		if err := os.WriteFile(name, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if what == "a link" || what == "a pipe" {
			os.Remove(name)
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if readFilter(name) != nil {
			t.Errorf("%s: believed", what)
		}
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewFilter(nil, []string{"CAP_CHOWN"}, filepath.Join(dir, "absent")); err != nil {
		t.Errorf("without a place to keep it: %v", err)
	}
}
