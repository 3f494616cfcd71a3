package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/common/libnetwork/pasta"
	"go.podman.io/common/pkg/config"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// heldNetwork is a network namespace that all steps of a run share, one after the other, connected by pasta. Nothing of
// a step is left in it: its processes are gone, and with them their sockets.
type heldNetwork struct {
	file   *os.File
	path   string // where the namespace is mounted in this process's mount namespace
	result *pasta.SetupResult
}

// holdNetwork makes and connects it. It lasts until Close; pasta, a child of this process by then, ends with the run.
func (b *Builder) holdNetwork() (*heldNetwork, error) {
	if !unshare.IsRootless() {
		return nil, errors.New("only ordinary users' steps get one with this isolation")
	}
	conf, err := config.Default()
	if err != nil {
		return nil, fmt.Errorf("reading containers.conf: %w", err)
	}
	if command := conf.Network.DefaultRootlessNetworkCmd; command != pasta.BinaryName {
		return nil, fmt.Errorf("containers.conf asks for %q, and this library connects with pasta only", command)
	}
	held := &heldNetwork{path: filepath.Join(b.options.TempDir, "netns")}
	if err = inNetworkNamespace(held.hold); err == nil {
		// By a file, as podman has it: what is below /proc/PID pasta may no longer open once it has given up its privileges.
		held.result, err = pasta.Setup(&pasta.SetupOptions{Config: conf, Netns: held.path})
	}
	if err != nil {
		return nil, errors.Join(firstLine(err), held.close())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.netns = held
	return held, nil
}

// hold keeps the namespace at a path of /proc alive when the thread that made it is gone.
func (h *heldNetwork) hold(namespace string) error {
	file, err := os.Create(h.path)
	if err != nil {
		return fmt.Errorf("holding the network namespace: %w", err)
	}
	file.Close()
	if err := unix.Mount(namespace, h.path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("holding the network namespace: %w", err)
	}
	h.file, err = os.Open(h.path)
	return err
}

func (h *heldNetwork) close() error {
	if h == nil {
		return nil
	}
	var errs []error
	if h.file != nil {
		errs = append(errs, h.file.Close(), unix.Unmount(h.path, unix.MNT_DETACH))
	}
	if err := os.Remove(h.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
