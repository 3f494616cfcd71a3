package main

import (
	"fmt"
	"io"
	gomaps "maps"
	"os"
	"slices"

	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/rootless"
	"github.com/rlbuild/rlbuild/engine/store"
)

// checkstoreMain is a command for the scripts: `checkstore` opens the store that $STORE and $RUNROOT name, or without them the
// user's own, and prints what the storage library's own check finds wrong with it, a line each. It fails if that is anything.
func checkstoreMain() {
	found, err := checkstore(os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "checkstore:", err)
	}
	rootless.Stay()
	if found > 0 || err != nil {
		os.Exit(1)
	}
}

// checkstore prints what is wrong with the store and returns how much that is.
func checkstore(w io.Writer) (found int, err error) {
	if _, err := rootless.Enter(rootless.Options{}); err != nil {
		return 0, err
	}
	opened, err := store.Open(store.Options{Root: os.Getenv("STORE"), RunRoot: os.Getenv("RUNROOT")})
	if err != nil {
		return 0, err
	}
	defer func() {
		if closed := opened.Close(); err == nil {
			err = closed
		}
	}()
	// Everything: digests of the layers, their contents as mounted, and what is recorded of layers, images and containers. (A
	// layer that leaves the entry of a directory out is reported for that alone, so the fixtures have them all.)
	report, err := opened.Check(storage.CheckEverything())
	if err != nil {
		return 0, err
	}
	for _, kind := range []struct {
		name  string
		wrong map[string][]error
	}{
		{"layer", report.Layers}, {"read-only layer", report.ROLayers}, {"image", report.Images},
		{"read-only image", report.ROImages}, {"container", report.Containers},
	} {
		for _, id := range slices.Sorted(gomaps.Keys(kind.wrong)) {
			for _, wrong := range kind.wrong[id] {
				found++
				fmt.Fprintf(w, "%s %.12s: %v\n", kind.name, id, wrong)
			}
		}
	}
	return found, nil
}
