package diagnose

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// A name leads where it led in the step: from the image into mounts and back, and nowhere else.
func TestSee(t *testing.T) {
	s := stage(t)
	root, host := s.Files.Dir(), t.TempDir()
	for name, target := range map[string]string{
		root + "/tools": "/mnt/bin", root + "/made": "/cache/x", root + "/loop": "loop",
		host + "/back": "/bin/cat", host + "/out": "../../../../../../etc/passwd", host + "/host": host + "/bin/tool", host + "/near": "bin/tool",
	} {
		check(t, os.Symlink(target, name))
	}
	check(t, os.Mkdir(host+"/bin", 0o755))
	check(t, os.WriteFile(host+"/bin/tool", []byte("x"), 0o755))
	s.Mounts = []Mount{{Source: host, Target: "/mnt"}, {Target: "/cache"}, {Source: host + "/bin/tool", Target: "/mnt/one"},
		{Source: host, Target: "/below/that/isnt/there"}}
	for name, want := range map[string]string{
		"/bin/cat": "/bin/cat", "/mnt/bin/tool": "/mnt/bin/tool", "/tools/tool": "/mnt/bin/tool", "/mnt/near": "/mnt/bin/tool",
		"/mnt/back": "/bin/cat", "/mnt/out": "/etc/passwd", "/mnt/one": "/mnt/one", "/bin/../tools/../one": "/mnt/one",
		"/below/that/isnt/there/near": "/below/that/isnt/there/bin/tool", "/": "/",
	} {
		f, err := s.see(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if f.name != want {
			t.Errorf("%s leads to %s, want %s", name, f.name, want)
		}
		if want == "/etc/passwd" && f.mount != nil {
			t.Error("a link of a mount leads out of the step")
		}
		f.close()
	}
	for name, want := range map[string]error{
		"/mnt/host": os.ErrNotExist, "/cache/tool": errHidden, "/made/tool": errHidden, "/loop": unix.ELOOP, "/bin/cat/x": unix.ENOTDIR,
		"/none": os.ErrNotExist,
	} {
		if f, err := s.see(name); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v, want %v", name, f, err, want)
		}
	}
	for _, name := range []string{"/cache/tool", "/made"} {
		if k := s.program(name, unix.ENOENT); k != nil {
			t.Errorf("%s: %s", name, k.Of.Name)
		}
	}
	// What a link leads to isn't the host's file of that name.
	if k := s.stepRefused(&s.Mounts[0], "/mnt/host", false); k != nil {
		t.Errorf("behind a link: %s", k.Of.Name)
	}
}

// Of an instruction of build() only what anybody would get is said.
func TestAnybody(t *testing.T) {
	one := []IDRange{{0, 1}}
	s := &Scene{Place: Container, User: User{Inside: sandbox.User{UID: 1}, Unknown: true}, IDs: IDs{one, one}}
	for _, line := range []string{"", "sh: ./x/y: Permission denied", "touch: 'x': Permission denied", "sh: ./x: not found"} {
		if k := s.Printed(127, []string{line}); k != nil {
			t.Errorf("%q: %s", line, k.Of.Name)
		}
	}
}

// Programs that a line names by a way from another directory aren't looked for in this one.
func TestOtherDirectory(t *testing.T) {
	s := stage(t, "cd", "sub")
	for _, line := range []string{"/bin/sh: ./tool: not found", "/bin/sh: sub/tool: not found", "/bin/sh: 1: ../x/tool: not found"} {
		if k := s.Printed(127, []string{line}); k != nil {
			t.Errorf("%s: %s", line, k.Of.Name)
		}
	}
	if k := s.Printed(126, []string{"/bin/sh: ./data: Permission denied"}); k == nil || k.Of != trouble.NotExecutable {
		t.Errorf("one that is there: %+v", k)
	}
	// What env(1) is to execute is behind its options, some of which have arguments.
	for text, want := range map[string]*trouble.Trouble{
		"#!/bin/env -S none -u": trouble.NoInterpreter, "#!/bin/env -i A=b none": trouble.NoInterpreter,
		"#!/bin/env -S -u FOO cat": nil, "#!/bin/env --unset FOO cat": nil, "#!/bin/env -C /x cat": nil, "#!/bin/env cat": nil,
	} {
		check(t, os.WriteFile(filepath.Join(s.Files.Dir(), "app/env"), []byte(text+"\n"), 0o755))
		if k := s.program("/app/env", 0); (k == nil) != (want == nil) || k != nil && k.Of != want {
			t.Errorf("%s: %+v", text, k)
		}
	}
}
