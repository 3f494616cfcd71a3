package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"go.podman.io/buildah"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/rootless/rootlesstest"
	"github.com/rlbuild/rlbuild/engine/store"
)

// No test runs on the main thread, which is what /proc/self shows.
func init() { runtime.LockOSThread() }

// TestMain runs the suite inside a namespace: a store can be opened nowhere else.
func TestMain(m *testing.M) {
	if buildah.InitReexec() {
		return
	}
	rootlesstest.Enter()
	// What the machine is set to is not what is tested.
	for _, name := range []string{"STORAGE_DRIVER", "STORAGE_OPTS", "CONTAINERS_STORAGE_CONF", "CONTAINERS_STORAGE_CONF_OVERRIDE"} {
		os.Unsetenv(name)
	}
	home, err := os.MkdirTemp("", "engine-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("HOME", home)
	os.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	os.Setenv("XDG_DATA_HOME", filepath.Join(home, "data"))
	os.Setenv("TMPDIR", home)
	status := m.Run()
	os.RemoveAll(home)
	os.Exit(status)
}

// place is a directory for a store.
func place(t testing.TB) string {
	t.Helper()
	// Not t.TempDir, whose removal doesn't wait for a mount to go: Cleanup runs last in, first out.
	dir, err := os.MkdirTemp("", "engine-test-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return dir
}

// run opens a run on the store at dir.
func run(t *testing.T, dir, driver string) *Builder {
	t.Helper()
	s, err := store.Open(store.Options{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), Driver: driver})
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	b, err := New(Options{Store: s, TempDir: t.TempDir(), Display: output.New(nil)})
	check(t, err)
	t.Cleanup(func() { check(t, b.Close()) })
	return b
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err, failure.HintOf(err))
	}
}
