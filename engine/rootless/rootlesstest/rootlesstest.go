// Package rootlesstest takes test suites to where rlbuild works.
package rootlesstest

import (
	"fmt"
	"os"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootless"
)

// requireNamespaces, when set in the environment, makes missing namespaces a failure; continuous integration sets it.
const requireNamespaces = "RLBUILD_REQUIRE_NAMESPACES"

// Enter enters a namespace, as rlbuild does. Where that is refused it says why and ends the process, with success unless
// namespaces are required. It is for TestMain, after the libraries' helpers had their turn (reexec.Init).
func Enter() {
	_, err := rootless.Enter(rootless.Options{})
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err, failure.HintOf(err))
	if os.Getenv(requireNamespaces) != "" {
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "skipping the tests: no namespaces here")
	os.Exit(0)
}
