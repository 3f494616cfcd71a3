package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-tools/generate"
	"github.com/opencontainers/selinux/go-selinux"
	"go.podman.io/common/libnetwork/pasta"
	nettypes "go.podman.io/common/libnetwork/types"
	"go.podman.io/common/pkg/config"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// probeTime bounds one trial of a runtime or network helper.
const probeTime = 10 * time.Second

// tryRuntime runs true(1) with an OCI runtime and a configuration of the kind that the library writes, in a root made of
// the host's own programs: only a run shows whether the runtime knows this version of the specification, may make the
// namespaces and has a place for its state.
func (b *Builder) tryRuntime(path string, args []string) error {
	bundle, err := os.MkdirTemp(b.options.TempDir, "probe-")
	if err != nil {
		return fmt.Errorf("making a bundle to try it with: %w", err)
	}
	defer os.RemoveAll(bundle)
	spec, err := probeSpec(bundle)
	if err != nil {
		return err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("writing a bundle to try it with: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600); err != nil {
		return fmt.Errorf("writing a bundle to try it with: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	args = append(append([]string{}, args...), "run", "--bundle", bundle)
	if unshare.IsRootless() {
		args = append(args, "--no-new-keyring") // as the library does for ordinary users
	}
	cmd := exec.CommandContext(ctx, path, append(args, "rlbuild-"+filepath.Base(bundle))...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	runtime.LockOSThread() // the runtime ends with the thread that starts it
	defer runtime.UnlockOSThread()
	printed, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w%s", err, lastLine(printed))
	}
	return nil
}

// probeSpec describes a container that runs true(1) in bundle/rootfs.
func probeSpec(bundle string) (*specs.Spec, error) {
	g, err := generate.New("linux")
	if err != nil {
		return nil, fmt.Errorf("describing a container to try it with: %w", err)
	}
	program, err := exec.LookPath("true")
	if err != nil {
		return nil, errors.New("no true(1) on this machine to try it with")
	}
	root := filepath.Join(bundle, "rootfs")
	g.SetRootPath(root)
	g.SetProcessArgs([]string{program})
	g.SetProcessTerminal(false)
	g.ClearLinuxDevices()
	// Without a network namespace of its own a user's container can't mount sysfs either.
	if err := g.RemoveLinuxNamespace(string(specs.NetworkNamespace)); err != nil {
		return nil, fmt.Errorf("describing a container to try it with: %w", err)
	}
	g.RemoveMount("/sys")
	for _, name := range []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "nix"} {
		if err := mirror(&g, root, name); err != nil {
			return nil, err
		}
	}
	return g.Config, nil
}

// mirror makes the host's /name visible in root: a link as a link, a directory as a bind mount.
func mirror(g *generate.Generator, root, name string) error {
	info, err := os.Lstat("/" + name)
	if err != nil {
		return nil // this distribution has none
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("making a root to try it with: %w", err)
	}
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink("/" + name)
		if err != nil {
			return fmt.Errorf("making a root to try it with: %w", err)
		}
		return os.Symlink(target, filepath.Join(root, name))
	}
	g.AddMount(specs.Mount{Destination: "/" + name, Type: "bind", Source: "/" + name, Options: []string{"rbind"}})
	return nil
}

// lastLine returns ": " and the last line of what a program printed, which is where it says why it failed.
func lastLine(printed []byte) string {
	lines := bytes.Split(bytes.TrimSpace(printed), []byte("\n"))
	line := strings.TrimSpace(string(lines[len(lines)-1]))
	if line == "" {
		return ""
	}
	return ": " + line
}

// tryNetwork finds out whether a network namespace can be connected: with pasta for ordinary users, with netavark's
// bridge for root.
func (b *Builder) tryNetwork() error {
	conf, err := config.Default()
	if err != nil {
		return fmt.Errorf("reading containers.conf: %w", err)
	}
	if !unshare.IsRootless() {
		return inNetworkNamespace(b.tryBridge)
	}
	if command := conf.Network.DefaultRootlessNetworkCmd; command != pasta.BinaryName {
		return fmt.Errorf("containers.conf asks for %q, and this library connects with pasta only", command)
	}
	return inNetworkNamespace(func(path string) error {
		_, err := pasta.Setup(&pasta.SetupOptions{Config: conf, Netns: path})
		return firstLine(err)
	})
}

// tryBridge connects and disconnects a network namespace.
func (b *Builder) tryBridge(path string) error {
	options := nettypes.NetworkOptions{
		ContainerID:   "rlbuild-probe",
		ContainerName: "rlbuild-probe",
		Networks: []nettypes.NamedPerNetworkOptions{{
			Name:              b.network().DefaultNetworkName(),
			PerNetworkOptions: nettypes.PerNetworkOptions{InterfaceName: "eth0"},
		}},
	}
	if _, err := b.network().Setup(path, nettypes.SetupOptions{NetworkOptions: options}); err != nil {
		return firstLine(err)
	}
	return firstLine(b.network().Teardown(path, nettypes.TeardownOptions{NetworkOptions: options}))
}

// inNetworkNamespace calls do with the path of a new network namespace, which ends when do returns.
func inNetworkNamespace(do func(path string) error) error {
	result := make(chan error, 1)
	go func() {
		// The thread is never unlocked, so it ends with this goroutine and takes the namespace along.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("making a network namespace: %w", err)
			return
		}
		path := fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		// do runs on other threads, in the old namespace, as it does when a step is connected.
		done := make(chan error, 1)
		go func() { done <- do(path) }()
		result <- <-done
	}()
	return <-result
}

// firstLine shortens an error to its first line that says something.
func firstLine(err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(err.Error())
	head, rest, found := strings.Cut(text, "\n")
	if found {
		next, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		head = strings.TrimSuffix(head, ":") + ": " + next
	}
	return errors.New(head)
}

// trySandbox finds out whether the executor works here, by a step that does everything but execute. The network is
// connected meanwhile: compiling the system call filter takes about as long.
func (b *Builder) trySandbox() (chosen *Isolation, err error) {
	conf, err := config.Default()
	if err != nil {
		return nil, fmt.Errorf("reading containers.conf: %w", err)
	}
	if err := beyondSandbox(conf); err != nil {
		return nil, err
	}
	capabilities, err := conf.Capabilities("", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the default capabilities: %w", err)
	}
	chosen = &Isolation{Kind: sandboxKind, Network: "host", stage: filepath.Join(b.options.TempDir, "stage")}
	if conf.NetNS() != "host" {
		var connecting sync.WaitGroup
		connecting.Go(func() {
			if _, err := b.connect(); err != nil {
				chosen.Shared = err.Error()
				return
			}
			chosen.Network = "private"
		})
		defer connecting.Wait()
	}
	profile := defaultSeccomp(conf)
	if profile == unconfined {
		profile = ""
	}
	filter, err := b.filterFor(profile, capabilities)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(b.options.TempDir, "probe-root")
	for _, dir := range []string{root, chosen.stage} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("making a directory to try it in: %w", err)
		}
	}
	return chosen, sandbox.Try(root, chosen.stage, sandbox.Step{
		Capabilities: capabilities, Filter: filter, Hostname: "probe", Network: sandbox.Namespace{Host: true},
		Masked: config.DefaultMaskedPaths(), ReadOnly: config.DefaultReadOnlyPaths,
	})
}

// beyondSandbox says what containers.conf or the machine wants of steps that only the library's ways of running them
// can do, or nil.
func beyondSandbox(conf *config.Config) error {
	if selinux.GetEnabled() {
		return errors.New("SELinux is enabled, and only an OCI runtime gives steps its labels")
	}
	for name, mode := range map[string]string{"ipcns": conf.IPCNS(), "pidns": conf.PidNS(), "utsns": conf.UTSNS()} {
		if mode == "host" {
			return fmt.Errorf("containers.conf asks for %s = %q", name, mode)
		}
	}
	if mode := conf.Containers.UserNS; mode != "" && mode != "host" {
		return fmt.Errorf("containers.conf asks for userns = %q", mode)
	}
	if conf.Containers.ContainerNameAsHostName {
		return errors.New("containers.conf asks for container_name_as_hostname")
	}
	return nil
}
