// Hello is the one program of the image that hello.star builds.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Printf("hello from a container, as uid %d, with %d files in /\n", os.Getuid(), len(files("/")))
}

func files(dir string) []os.DirEntry {
	entries, err := os.ReadDir(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return entries
}
