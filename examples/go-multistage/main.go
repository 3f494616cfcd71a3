// App is the program that app.star compiles inside a container and ships without the compiler.
package main

import (
	"fmt"
	"runtime"
)

func main() {
	fmt.Printf("compiled by %s for %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
