package diagnose

import (
	"bytes"
	"os"
	"testing"
)

// FuzzProgram reads the headers of programs that images hold, which may be anything.
func FuzzProgram(f *testing.F) {
	for _, file := range []string{"/bin/true", "/bin/sh", "/proc/self/exe"} {
		if head, err := os.ReadFile(file); err == nil {
			f.Add(head[:min(len(head), 1024)])
		}
	}
	f.Add([]byte("\x7fELF\x02\x02"))
	f.Fuzz(func(t *testing.T, content []byte) {
		program, ok := readELF(bytes.NewReader(content))
		if !ok && program.loader != "" || len(program.loader) > longestLoader || program.loader != "" && !bytes.Contains(content, []byte(program.loader)) {
			t.Errorf("got %+v, %t", program, ok)
		}
		_ = program.architecture() // of a machine that nobody knows as well
	})
}
