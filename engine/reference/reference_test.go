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
		{"docker-daemon:app:1", "docker-daemon", "", false},
		{"tarball:-", "tarball", "", false},
		{"sif:image.sif", "sif", "", false},
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
		{"atomic:app:1", `names the transport "atomic"`, "oci-archive"},
		{"docker-daemon:app", "docker-daemon", ""},
		{"tarball:", "nothing at it", ""},
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

func TestIn(t *testing.T) {
	for text, want := range map[string]string{
		"app":                           "app",
		"docker://registry.example/app": "docker://registry.example/app",
		"docker-daemon:app:1":           "docker-daemon:app:1",
		"oci:layout:app":                "oci:/run/layout:app",
		"dir:/tmp/d":                    "dir:/tmp/d",
		"tarball:-":                     "tarball:-",
		"tarball:a.tar:-:/b.tar":        "tarball:/run/a.tar:-:/b.tar",
		"sif:image.sif":                 "sif:/run/image.sif",
	} {
		n, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
		} else if got := n.In("/run").String(); got != want {
			t.Errorf("%q in /run is %q, want %q", text, got, want)
		}
	}
}

func TestWritable(t *testing.T) {
	for text, want := range map[string]bool{"app": true, "oci:d": true, "docker-daemon:app:1": true, "tarball:a.tar": false, "sif:a": false} {
		n, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Writable(); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPath(t *testing.T) {
	for _, tc := range []struct{ text, path, other string }{
		{"app:1", "", ""},
		{"docker://registry.example/app:1", "", ""},
		{"docker-daemon:app:1", "", ""},
		{"dir:/tmp/d:1", "/tmp/d:1", "dir:/new"},
		{"oci:/tmp/layout", "/tmp/layout", "oci:/new"},
		{"oci:/tmp/layout:app:1", "/tmp/layout", "oci:/new:app:1"},
		{"oci-archive:app.tar:app", "app.tar", "oci-archive:/new:app"},
		{"docker-archive:/a.tar:localhost/app:1", "/a.tar", "docker-archive:/new:localhost/app:1"},
	} {
		n, err := Parse(tc.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.Path(); got != tc.path {
			t.Errorf("the path of %q is %q, want %q", tc.text, got, tc.path)
		}
		if tc.path == "" {
			continue
		}
		if got := n.At("/new").String(); got != tc.other {
			t.Errorf("%q at /new is %q, want %q", tc.text, got, tc.other)
		}
	}
}
