package reference

import (
	"strings"
	"testing"

	"go.podman.io/image/v5/transports/alltransports"
)

// FuzzParse holds that a name that is taken means the same when it is written out and read again, that the library takes it
// too, and that a path at a transport stays that path.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"debian", "localhost/app:1", "docker://[::1]:5000/a/b@sha256:" + strings.Repeat("a", 64), "oci-archive:a.tar:x:1",
		"containers-storage:[overlay@/r+/w]x", "dir:", "tarball:-:x", "docker:x", "a\x00b", "Upper", "docker://user:secret@host/x", "docker-archive:x:@0",
		"docker://h/x:1", "oci:p:t", "dir:/", "docker-archive:a:b:c", "://", "[::1]:1/a"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			if err.Error() == "" || strings.Contains(err.Error(), "%!") && !strings.Contains(text, "%") {
				t.Errorf("Parse(%q): %v", text, err)
			}
			return
		}
		n.Host()
		n.Loopback()
		_ = n.Writable()
		again, err := Parse(n.String())
		if err != nil || again != n {
			t.Errorf("Parse(%q) = %+v, and that as %q = %+v, %v", text, n, n.String(), again, err)
		}
		if at := n.In("/dir"); at.Transport != n.Transport || at.In("/other") != at {
			t.Errorf("%q in /dir = %+v", text, at)
		}
		switch n.Transport {
		case "", Storage, tarball, "sif": // need a store, a search list or a file
			return
		}
		if _, err := n.Ref(); err != nil {
			t.Errorf("Ref of %q: %v", text, err)
		}
		if _, err := alltransports.ParseImageName(n.String()); err != nil {
			t.Errorf("the library refuses %q: %v", n.String(), err)
		}
	})
}
