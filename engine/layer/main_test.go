package layer

import (
	"fmt"
	"os"
	"testing"

	"go.podman.io/storage/pkg/reexec"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootless"
)

// TestMain runs the suite inside a namespace: an ordinary user can't give files away outside of one.
func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	if _, err := rootless.Enter(rootless.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err, failure.HintOf(err))
		if os.Getenv("RLBUILD_REQUIRE_NAMESPACES") == "1" {
			os.Exit(1)
		}
		fmt.Fprintln(os.Stderr, "skipping the tests: no namespaces here")
		os.Exit(0)
	}
	os.Exit(m.Run())
}
