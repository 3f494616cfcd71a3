// Command rlbuild runs a Starlark script that builds container images, without root.
package main

import (
	"os"
	"runtime"

	"go.podman.io/buildah"

	"github.com/rlbuild/rlbuild/engine/rootless"
)

// version is set when the binary is linked.
var version = "devel"

// Threads of rlbuild and of its libraries enter other namespaces for good, and end. The main thread can't end, and is what
// /proc/self shows: nothing runs on it but main. That is sure only here: main may begin on another.
func init() { runtime.LockOSThread() }

func main() {
	// The libraries start this program again under other names, as helpers of theirs.
	if buildah.InitReexec() {
		return
	}
	status := make(chan int)
	go func() { status <- run() }()
	code := <-status
	rootless.Stay()
	os.Exit(code)
}

// run does what the command line says and returns the exit status.
func run() int {
	return execute(newStreams(), os.Args[1:])
}
