package engine

import (
	"errors"
	"fmt"
	"os"

	"go.podman.io/common/libnetwork/pasta"
	"go.podman.io/common/pkg/config"
	"go.podman.io/storage/pkg/unshare"
)

// heldNetwork is a network namespace that all steps of a run share, one after the other, connected by pasta. Nothing of
// a step is left in it: its processes are gone, and with them their sockets.
type heldNetwork struct {
	file   *os.File
	result *pasta.SetupResult
}

// holdNetwork makes and connects it. It lasts until Close; pasta, a child of this process by then, ends with the run.
func (b *Builder) holdNetwork(conf *config.Config) (*heldNetwork, error) {
	if !unshare.IsRootless() {
		return nil, errors.New("only ordinary users' steps get one with this isolation")
	}
	if command := conf.Network.DefaultRootlessNetworkCmd; command != pasta.BinaryName {
		return nil, fmt.Errorf("containers.conf asks for %q, and this library connects with pasta only", command)
	}
	held := &heldNetwork{}
	err := inNetworkNamespace(func(path string) (err error) {
		if held.file, err = os.Open(path); err != nil {
			return err
		}
		// By descriptor: the thread's path ends with the thread.
		held.result, err = pasta.Setup(&pasta.SetupOptions{
			Config: conf, Netns: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), held.file.Fd()),
		})
		return firstLine(err)
	})
	if err != nil {
		return nil, errors.Join(err, held.close())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.netns = held
	return held, nil
}

func (h *heldNetwork) close() error {
	if h == nil || h.file == nil {
		return nil
	}
	return h.file.Close()
}
