package engine

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"go.podman.io/buildah/define"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/failure"
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
	stage       string       // for sandboxed steps
	netns       *heldNetwork // of sandboxed steps; nil for the host's
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
	chroot := &Isolation{Kind: "chroot", kind: define.IsolationChroot, Network: "host",
		Shared: "a chroot has no network of its own"}
	oci := &Isolation{Kind: "oci", kind: define.IsolationOCI}
	if unshare.IsRootless() {
		oci = &Isolation{Kind: "rootless", kind: define.IsolationOCIRootless}
	}
	if b.options.Isolation == "chroot" {
		return chroot, nil
	}
	var passed []string
	if b.prefersSandbox() {
		chosen, err := b.trySandbox()
		if err == nil {
			return chosen, nil
		}
		if b.options.Isolation == sandboxKind {
			return nil, sandboxRefused(err)
		}
		passed = append(passed, fmt.Sprintf("sandbox: %v", err))
	}
	candidates := runtimes
	if b.options.Runtime != "" {
		candidates = []string{b.options.Runtime}
	}
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if err != nil {
			passed = append(passed, name+" is not installed")
			continue
		}
		// Its state in a directory of the run's own: runc's default needs a writable XDG_RUNTIME_DIR. Its log in a file:
		// on standard error it would read as the step's.
		args := []string{"--root", filepath.Join(b.options.TempDir, "runtime"),
			"--log", filepath.Join(b.options.TempDir, "runtime.log")}
		if err := b.tryRuntime(path, args); err != nil {
			passed = append(passed, fmt.Sprintf("%s doesn't work here: %v", path, err))
			continue
		}
		oci.Runtime, oci.runtimeArgs = path, args
		oci.Network = "private"
		if err := b.tryNetwork(); err != nil {
			oci.Network, oci.Shared = "host", err.Error()
		}
		oci.Passed = passed
		return oci, nil
	}
	if asked := b.options.Isolation; asked != "" || b.options.Runtime != "" {
		return nil, failure.New("isolation", asked, "no OCI runtime works here: %s", strings.Join(passed, "; ")).
			WithKind(failure.Machine).WithHint("install a newer crun or runc, or run steps without one: --isolation chroot")
	}
	chroot.Passed = passed
	return chroot, nil
}

// prefersSandbox tells whether the sandbox is tried first: when it is asked for, and for ordinary users who ask for
// nothing. For root an OCI runtime does more: its device rules, hooks and labels only matter there.
func (b *Builder) prefersSandbox() bool {
	if asked := b.options.Isolation; asked != "" {
		return asked == sandboxKind
	}
	return b.options.Runtime == "" && unshare.IsRootless()
}
