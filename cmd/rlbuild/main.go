// Command rlbuild runs a Starlark script that builds container images, without root.
package main

import (
	"os"

	"go.podman.io/buildah"

	"github.com/rlbuild/rlbuild/engine/rootless"
)

// version is set when the binary is linked.
var version = "devel"

func main() {
	// The libraries start this program again under other names, as helpers of theirs.
	if buildah.InitReexec() {
		return
	}
	status := run()
	rootless.Stay()
	os.Exit(status)
}

// run does what the command line says and returns the exit status.
func run() int {
	return execute(newStreams(), os.Args[1:])
}
