package layer

import (
	"os"
	"testing"

	"go.podman.io/storage/pkg/reexec"

	"github.com/rlbuild/rlbuild/engine/rootless/rootlesstest"
)

// TestMain runs the suite inside a namespace: an ordinary user can't give files away outside of one.
func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	rootlesstest.Enter()
	os.Exit(m.Run())
}
