package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rlbuild/rlbuild/builtins"
)

// TestReference runs the example of every builtin and method, as help shows it, on a container of the base image.
func TestReference(t *testing.T) {
	needUser(t)
	dir := t.TempDir()
	var files []string
	for _, name := range builtins.Names() {
		script := fmt.Sprintf("exec rlbuild %[1]s.star base=$BASE\nclean\n\n-- %[1]s.star --\nctr = from_(\"oci-archive:\" + arg(\"base\"))\n%[2]s\n",
			name, builtins.Example(name))
		file := filepath.Join(dir, name+".txtar")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	params := suite{driver: "overlay"}.params(t)
	params.Files = files
	testscript.Run(t, params)
}
