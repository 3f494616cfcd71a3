package engine

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"go.podman.io/common/libnetwork/network"
	nettypes "go.podman.io/common/libnetwork/types"
	"go.podman.io/common/pkg/config"

	"github.com/rlbuild/rlbuild/engine/store"
)

// errNoNetwork is what noNetwork answers to everything.
var errNoNetwork = errors.New("no network helper: netavark is not installed")

// containerNetwork returns the library's bridge network, or one that refuses every use where netavark isn't installed:
// the library won't make a container without one, though rootless runs never touch it.
func containerNetwork(s *store.Store, tempDir string) nettypes.ContainerNetwork {
	conf, err := config.Default()
	if err != nil {
		return noNetwork{}
	}
	_, net, err := network.NetworkBackend(s.Store, conf, false)
	if err != nil {
		nameHelper(conf, tempDir)
		return noNetwork{}
	}
	return quietNetwork{net}
}

// nameHelper gives the library a netavark to name where none is installed: it won't open a container or look at an image
// otherwise, even though it only remembers the name. Run, it fails.
func nameHelper(conf *config.Config, tempDir string) {
	dir := filepath.Join(tempDir, "helpers")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return // the library's own message about netavark says the rest
	}
	if err := os.WriteFile(filepath.Join(dir, "netavark"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		return
	}
	conf.Engine.HelperBinariesDir.Set(append(conf.Engine.HelperBinariesDir.Get(), dir))
}

// quietNetwork keeps the helper's log to errors: it takes its level from logrus, under whose name for "nothing" it
// would print a complaint.
type quietNetwork struct{ nettypes.ContainerNetwork }

func (n quietNetwork) Setup(path string, o nettypes.SetupOptions) (map[string]nettypes.StatusBlock, error) {
	defer raiseLevel()()
	return n.ContainerNetwork.Setup(path, o)
}

func (n quietNetwork) Teardown(path string, o nettypes.TeardownOptions) error {
	defer raiseLevel()()
	return n.ContainerNetwork.Teardown(path, o)
}

// raiseLevel lets logrus say errors until the returned function is called, without printing them.
func raiseLevel() (restore func()) {
	logger := logrus.StandardLogger()
	level, out := logger.GetLevel(), logger.Out
	if level >= logrus.ErrorLevel {
		return func() {}
	}
	logger.SetOutput(io.Discard)
	logger.SetLevel(logrus.ErrorLevel)
	return func() {
		logger.SetLevel(level)
		logger.SetOutput(out)
	}
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
