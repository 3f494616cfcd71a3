package engine

import (
	"errors"

	"go.podman.io/common/libnetwork/network"
	nettypes "go.podman.io/common/libnetwork/types"
	"go.podman.io/common/pkg/config"

	"github.com/rlbuild/rlbuild/engine/store"
)

// errNoNetwork is what noNetwork answers to everything.
var errNoNetwork = errors.New("no network helper: netavark is not installed")

// containerNetwork returns the library's bridge network, or one that refuses every use where netavark isn't installed:
// the library won't make a container without one, though rootless runs never touch it.
func containerNetwork(s *store.Store) nettypes.ContainerNetwork {
	conf, err := config.Default()
	if err != nil {
		return noNetwork{}
	}
	_, net, err := network.NetworkBackend(s.Store, conf, false)
	if err != nil {
		return noNetwork{}
	}
	return net
}

// noNetwork is a network that has nothing and can set up nothing.
type noNetwork struct{}

func (noNetwork) NetworkCreate(nettypes.Network, *nettypes.NetworkCreateOptions) (nettypes.Network, error) {
	return nettypes.Network{}, errNoNetwork
}
func (noNetwork) NetworkUpdate(string, nettypes.NetworkUpdateOptions) error { return errNoNetwork }
func (noNetwork) NetworkRemove(string) error                                { return errNoNetwork }
func (noNetwork) NetworkList(...nettypes.FilterFunc) ([]nettypes.Network, error) {
	return nil, nil
}
func (noNetwork) NetworkInspect(string) (nettypes.Network, error) {
	return nettypes.Network{}, errNoNetwork
}
func (noNetwork) Setup(string, nettypes.SetupOptions) (map[string]nettypes.StatusBlock, error) {
	return nil, errNoNetwork
}
func (noNetwork) Teardown(string, nettypes.TeardownOptions) error { return nil }
func (noNetwork) RunInRootlessNetns(func() error) error           { return errNoNetwork }
func (noNetwork) RootlessNetnsInfo() (*nettypes.RootlessNetnsInfo, error) {
	return nil, errNoNetwork
}
func (noNetwork) PestoSocketPath() string           { return "" }
func (noNetwork) Drivers() []string                 { return nil }
func (noNetwork) DefaultNetworkName() string        { return "" }
func (noNetwork) NetworkInfo() nettypes.NetworkInfo { return nettypes.NetworkInfo{} }
