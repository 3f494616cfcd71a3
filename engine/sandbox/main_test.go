package sandbox_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.podman.io/storage/pkg/reexec"

	"github.com/rlbuild/rlbuild/engine/rootless/rootlesstest"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// No test runs on the main thread, which is what /proc/self shows.
func init() { runtime.LockOSThread() }

// TestMain runs the tests where steps run: in the namespaces that rlbuild enters.
func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	if names := os.Getenv(attemptName); names != "" {
		attemptMain(names)
		return
	}
	rootlesstest.Enter()
	os.Exit(m.Run())
}

// capabilities are the containers tools' default.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
	"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// newRoot makes a root file system of a static busybox.
func newRoot(t testing.TB) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err, "install busybox-static")
	}
	root := t.TempDir()
	must(t, os.Chmod(root, 0o755))
	must(t, os.Chmod(filepath.Dir(root), 0o755))
	for _, name := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		must(t, os.Mkdir(filepath.Join(root, name), 0o755))
	}
	data, err := os.ReadFile(busybox)
	must(t, err)
	must(t, os.WriteFile(root+"/bin/busybox", data, 0o755))
	applets, err := exec.Command(busybox, "--list").Output()
	must(t, err)
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			must(t, os.Symlink("busybox", filepath.Join(root, "bin", applet)))
		}
	}
	return root
}

// newStep returns a step as the engine makes them, which runs a line of shell.
func newStep(t testing.TB, root, line string) *sandbox.Step {
	t.Helper()
	null, err := os.Open(os.DevNull)
	must(t, err)
	t.Cleanup(func() { null.Close() })
	return &sandbox.Step{
		Root: root, Stage: t.TempDir(), Dir: "/", Args: []string{"/bin/sh", "-c", line},
		Env: []string{"PATH=/bin"}, Capabilities: capabilities, Filter: filter(t), Hostname: "step", Network: sandbox.Namespace{Host: true},
		Masked:   []string{"/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware", "/proc/interrupts"},
		ReadOnly: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		Stdin:    null,
	}
}

var compiled *sandbox.Filter

func filter(t testing.TB) *sandbox.Filter {
	t.Helper()
	if compiled == nil {
		var err error
		compiled, err = sandbox.NewFilter(nil, capabilities, "")
		must(t, err)
	}
	return compiled
}

// output runs a step and returns its exit status and what it printed on both streams.
func output(t testing.TB, s *sandbox.Step) (code int, text string) {
	t.Helper()
	state, text, err := try(t, s)
	must(t, err)
	if status, ok := state.Sys().(interface{ Signaled() bool }); ok && status.Signaled() {
		t.Fatalf("%v: %s", state, text)
	}
	return state.ExitCode(), text
}

func try(t testing.TB, s *sandbox.Step) (*os.ProcessState, string, error) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	s.Stdout, s.Stderr = w, w
	read := make(chan string)
	go func() {
		data, _ := io.ReadAll(r)
		read <- string(data)
	}()
	state, err := s.Run(context.Background())
	w.Close()
	text := <-read
	r.Close()
	return state, text, err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// secret is a file on the host, outside every root.
func secret(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(name, []byte("of the host"), 0o644))
	return name
}
