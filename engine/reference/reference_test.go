package reference

import (
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/failure"
)

func TestParse(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for _, tc := range []struct {
		text, transport, host string
		loopback              bool
	}{
		{"debian", "", "", false},
		{"debian:bookworm", "", "", false},
		{"localhost/app", "", "localhost", false},
		{"localhost:5000/app", "", "localhost:5000", true},
		{"127.0.0.1:5000/app:1", "", "127.0.0.1:5000", true},
		{"docker://127.0.0.2:5000/app:1", "docker", "127.0.0.2:5000", true},
		{"docker://registry.example/a/b@" + digest, "docker", "registry.example", false},
		{"docker://debian", "docker", "", false},
		{strings.Repeat("0a", 32), "", "", false},
		{"containers-storage:localhost/app", "containers-storage", "", false},
		{"oci:/tmp/layout:app", "oci", "", false},
		{"oci-archive:app.tar", "oci-archive", "", false},
		{"docker-archive:app.tar:localhost/app:1", "docker-archive", "", false},
		{"dir:/tmp/d", "dir", "", false},
	} {
		n, err := Parse(tc.text)
		if err != nil {
			t.Errorf("Parse(%q): %v", tc.text, err)
			continue
		}
		if n.Transport != tc.transport || n.Host() != tc.host || n.Loopback() != tc.loopback || n.String() != tc.text {
			t.Errorf("Parse(%q) = %+v (%s), host %q, loopback %v", tc.text, n, n, n.Host(), n.Loopback())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ text, want, hint string }{
		{"", "is empty", "name an image"},
		{"docker:debian", `lacks "//"`, "docker://debian"},
		{"docker://", "nothing at it", ""},
		{"oci:", "nothing at it", ""},
		{"https://registry.example/app", `names the transport "https"`, "transports are containers-storage, docker"},
		{"docker-daemon:app:1", `names the transport "docker-daemon"`, "oci-archive"},
		{"Debian", "lowercase", "debian"},
		{"a b", "invalid reference format", ""},
		{"docker://registry.example/a:b:c", "invalid reference format", ""},
		{"https://joe:hunter2@registry.example/app", "[redacted]", ""},
	} {
		_, err := Parse(tc.text)
		if err == nil {
			t.Errorf("Parse(%q) succeeded", tc.text)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) || !strings.Contains(failure.HintOf(err), tc.hint) {
			t.Errorf("Parse(%q): %v; hint: %s; want %q and %q", tc.text, err, failure.HintOf(err), tc.want, tc.hint)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse(%q) shows a password: %v", tc.text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"debian", "docker://h/x:1", "oci:p:t", "dir:/", "docker-archive:a:b:c", "://", "[::1]:1/a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(n.String())
		if err != nil || again != n {
			t.Errorf("Parse(%q) = %+v, whose text %q parses to %+v, %v", text, n, n.String(), again, err)
		}
		n.Loopback()
	})
}
