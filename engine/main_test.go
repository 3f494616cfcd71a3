package engine

import (
	"fmt"
	"os"
	"testing"

	"go.podman.io/buildah"

	"github.com/rlbuild/rlbuild/engine/rootless"
)

// TestMain runs the suite inside a namespace: there's no store elsewhere. The library's helper processes are this binary
// as well.
func TestMain(m *testing.M) {
	if buildah.InitReexec() {
		return
	}
	if _, err := rootless.Enter(rootless.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if os.Getenv("RLBUILD_REQUIRE_NAMESPACES") != "" {
			os.Exit(1)
		}
		fmt.Fprintln(os.Stderr, "skipping the tests: no namespaces here")
		os.Exit(0)
	}
	os.Exit(m.Run())
}
