package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rlbuild/rlbuild/builtins"
)

// TestReference runs the examples of every builtin and method, as help shows them, on a container of the base image.
func TestReference(t *testing.T) {
	needUser(t)
	dir := t.TempDir()
	var files []string
	for _, name := range builtins.Names() {
		for i, example := range builtins.Examples(name) {
			file := filepath.Join(dir, fmt.Sprintf("%s_%d.txtar", name, i+1))
			script := fmt.Sprintf("exec rlbuild example.star base=$BASE\nclean\n\n-- example.star --\nctr = from_(\"oci-archive:\" + arg(\"base\"))\n%s\n", example)
			if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
	}
	params := suite{driver: "overlay"}.params(t)
	params.Files = files
	testscript.Run(t, params)
}
