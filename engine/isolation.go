package engine

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"go.podman.io/buildah/define"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/journal"
)

// Isolation is how the run's steps are executed: chosen once, by trying.
type Isolation struct {
	// "sandbox" (rlbuild's own executor), "oci", "rootless" (an OCI runtime in a user namespace) or "chroot"
	Kind    string   `json:"isolation"`
	Runtime string   `json:"runtime"` // path of the OCI runtime; "" where there is none
	Network string   `json:"network"` // "private" or "host"
	Passed  []string `json:"passed"`  // ways to execute them that were passed over, each with the reason
	Shared  string   `json:"shared"`  // why the network is the host's; "" when that was asked for

	kind        define.Isolation
	runtimeArgs []string
	stage       string // for sandboxed steps
}

// sandboxKind is the Isolation.Kind of rlbuild's own executor.
const sandboxKind = "sandbox"

// Isolations lists what Options.Isolation can be.
func Isolations() []string { return []string{sandboxKind, "oci", "rootless", "chroot"} }

// runtimes are the OCI runtimes looked for in PATH, the quicker first.
var runtimes = []string{"crun", "runc"}

// String says what was chosen, in a line.
func (i *Isolation) String() string {
	text := "isolation " + i.Kind
	if i.Runtime != "" {
		text += " with " + i.Runtime
	}
	return text + ", network " + i.Network
}

// Isolation returns how steps are executed, trying what is installed the first time it is asked.
func (b *Builder) Isolation() (*Isolation, error) { return b.isolation() }

func (b *Builder) chooseIsolation() (*Isolation, error) {
	chosen, err := b.selectIsolation()
	if err != nil {
		return nil, err
	}
	for _, reason := range chosen.Passed {
		b.options.Info("passed over: " + reason)
	}
	if chosen.Shared != "" {
		b.options.Info("no private network: " + chosen.Shared)
	}
	b.options.Info("steps run with " + chosen.String())
	return chosen, nil
}

func (b *Builder) selectIsolation() (*Isolation, error) {
	if b.options.Isolation == "chroot" {
		return b.way("chroot", "")
	}
	var passed []string
	if b.prefersSandbox() {
		chosen, err := b.way(sandboxKind, "")
		if err == nil || b.options.Isolation == sandboxKind {
			return chosen, err
		}
		passed = append(passed, fmt.Sprintf("sandbox: %v", errors.Unwrap(err)))
	}
	chosen, err := b.way("oci", b.options.Runtime)
	if err != nil && b.options.Isolation == "" && b.options.Runtime == "" {
		passed = append(passed, fmt.Sprint(errors.Unwrap(err)))
		chosen, err = b.way("chroot", "")
	}
	if err != nil {
		return nil, err
	}
	chosen.Passed = append(passed, chosen.Passed...)
	return chosen, nil
}

// way is one of the ways to execute steps: a kind of Isolations(), and the OCI runtime, "" for one that works.
type way struct{ kind, runtime string }

type triedWay struct {
	isolation *Isolation
	err       error
}

// way returns how steps are executed one way, or why they can't be here.
func (b *Builder) way(kind, runtime string) (*Isolation, error) {
	if kind == "rootless" {
		kind = "oci" // which of the two it is depends on the user
	}
	key := way{kind, runtime}
	if known, tried := b.ways[key]; tried {
		return known.isolation, known.err
	}
	var made triedWay
	switch kind {
	case sandboxKind:
		if made.isolation, made.err = b.trySandbox(); made.err != nil {
			made = triedWay{nil, sandboxRefused(made.err)}
		}
	case "chroot":
		made.isolation = &Isolation{Kind: kind, kind: define.IsolationChroot, Network: "host", Shared: "a chroot has no network of its own"}
	default:
		made.isolation, made.err = b.tryRuntimes(runtime)
	}
	b.ways[key] = made
	return made.isolation, made.err
}

// tryRuntimes returns the way with the OCI runtime that is asked for, a path or a name in PATH, or with the first that works.
func (b *Builder) tryRuntimes(asked string) (*Isolation, error) {
	chosen := &Isolation{Kind: "oci", kind: define.IsolationOCI}
	if unshare.IsRootless() {
		chosen = &Isolation{Kind: "rootless", kind: define.IsolationOCIRootless}
	}
	candidates := runtimes
	if asked != "" {
		candidates = []string{asked}
	}
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if err != nil {
			chosen.Passed = append(chosen.Passed, name+" is not installed")
			continue
		}
		if path, err = filepath.Abs(path); err != nil { // it is started in a directory of the library's
			return nil, err
		}
		// Its state in a directory of the run's own: runc's default needs a writable XDG_RUNTIME_DIR. Its log in a file:
		// on standard error it would read as the step's.
		state := filepath.Join(b.options.TempDir, "runtime")
		if err := b.options.Journal.Note(journal.Runtime, path, state); err != nil {
			return nil, err
		}
		args := []string{"--root", state,
			"--log", filepath.Join(b.options.TempDir, "runtime.log")}
		if err := b.tryRuntime(path, args); err != nil {
			chosen.Passed = append(chosen.Passed, fmt.Sprintf("%s doesn't work here: %v", path, err))
			continue
		}
		chosen.Runtime, chosen.runtimeArgs = path, args
		chosen.Network = "private"
		if err := b.tryNetwork(); err != nil {
			chosen.Network, chosen.Shared = "host", err.Error()
		}
		return chosen, nil
	}
	return nil, failure.New("isolation", firstOf(b.options.Isolation, "oci"), "no OCI runtime works here: %s", strings.Join(chosen.Passed, "; ")).
		WithKind(failure.Machine).WithHint("install a newer crun or runc, or run steps without one: --isolation chroot")
}

// prefersSandbox tells whether the sandbox is tried first: when it is asked for, and for ordinary users who ask for
// nothing. For root an OCI runtime does more: its device rules, hooks and labels only matter there.
func (b *Builder) prefersSandbox() bool {
	if asked := b.options.Isolation; asked != "" {
		return asked == sandboxKind
	}
	return b.options.Runtime == "" && unshare.IsRootless()
}

// sandboxRefused is the error of a user's wish for the sandbox where it can't be.
func sandboxRefused(err error) error {
	return failure.New("isolation", sandboxKind, "doesn't work here: %w", err).WithKind(failure.Machine).
		WithHint("leave the choice to rlbuild, or run steps with --isolation oci or chroot.")
}
