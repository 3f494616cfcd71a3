package builtins

import (
	"strconv"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var tmpfsVerb = &verb{
	name:    "tmpfs",
	summary: "describes an empty directory in memory, gone with the step",
	doc:     "It is for mount of run and build.",
	params: []param{targetParam,
		{name: "size", kind: aSize, keyword: true, doc: `how much fits: bytes, or "64m", "50%"; half of the memory`},
		{name: "mode", kind: aMode, keyword: true, fallback: "0o1777", doc: "its permissions"},
		{name: "ro", kind: aBool, keyword: true, fallback: "False", doc: "the step can't write to it"},
		{name: "tmpcopyup", kind: aBool, keyword: true, fallback: "False", doc: "it begins with what the container has there"},
		{name: "nosuid", kind: aBool, keyword: true, fallback: "False", doc: "setuid bits count for nothing"},
		{name: "nodev", kind: aBool, keyword: true, fallback: "False", doc: "device nodes are inert"},
		{name: "noexec", kind: aBool, keyword: true, fallback: "False", doc: "programs can't be executed"},
	},
	gives:   "a mount",
	example: `run(ctr, "dd if=/dev/zero of=/scratch/x bs=1k count=64", mount = [tmpfs("/scratch", size = "1m", mode = 0o700)])`,
	more: []string{
		`run(ctr, "rm /etc/passwd; ls /etc /empty", mount = [
    tmpfs("/etc", tmpcopyup = True, nosuid = True, nodev = True, noexec = True),
    tmpfs("/empty", ro = True),
])`,
	},
	pure: true,
	do: func(c *call) (starlark.Value, error) {
		t := engine.TmpfsMount{Target: c.text("target"), CopyUp: c.flag("tmpcopyup", false)}
		t.Flags = c.mountRestrictions()
		t.Flags.ReadOnly = c.flag("ro", false)
		var err error
		if t.Size, err = c.tmpfsSize("size"); err != nil {
			return nil, err
		}
		if t.Mode, err = c.mountMode("mode"); err != nil {
			return nil, err
		}
		return c.mount(func(*call) (engine.Mount, error) { made := t; return &made, nil })
	},
}

// tmpfsSize returns an argument that is an amount of memory as the kernel's tmpfs takes it.
func (c *call) tmpfsSize(name string) (string, error) {
	text := strings.TrimSpace(c.size(name))
	if !c.given(name) {
		return "", nil
	}
	digits := strings.TrimRight(text, "kKmMgG%")
	if n, err := strconv.ParseUint(digits, 10, 63); err != nil || n == 0 || len(text) > len(digits)+1 {
		return "", c.wrong(name, `got %s, want bytes or a string such as "64m"`, c.values[name])
	}
	return text, nil
}
