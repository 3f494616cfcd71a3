package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var cacheVerb = &verb{
	name:    "cache",
	summary: "describes a directory that steps share and that outlives the script",
	doc: `It is for mount of run and build. It lies in the directory for temporary files (TMPDIR, or /var/tmp), where buildah's builds of the
same user have the same caches. With sharing "locked" a step waits for the others that use the cache, with "private" it
gets one of its own while they do.`,
	params: slices.Concat([]param{targetParam,
		{name: "id", kind: aString, keyword: true, doc: "which cache it is; the target's name"},
		{name: "sharing", kind: aString, keyword: true, fallback: `"shared"`, doc: `"shared", "locked" or "private"`},
		{name: "from_", kind: aRoot, keyword: true, doc: "use this root, instead of a directory of the user's; what is written to an image is discarded"},
		{name: "source", kind: aString, keyword: true, doc: "a directory in the cache, instead of all of it"},
	}, ownerParams("0o755"), flagParams(false)),
	gives: "a mount",
	example: `pip = cache("/root/.cache/pip", id = "pip", sharing = "locked", mode = 0o700, uid = 0, gid = 0)
run(ctr, "date > /root/.cache/pip/last", mount = [pip])
run(ctr, "cat /root/.cache/pip/last", mount = [pip])`,
	more: []string{
		`run(ctr, "ls /seed", mount = [cache("/seed", from_ = ctr, source = "/bin", ro = True)])`,
		`run(ctr, "touch /c/x", user = "1000", mount = [
    cache("/c", id = "of-a-user", rw = True, U = True, nosuid = True, nodev = True, noexec = True, bind_propagation = "private"),
    cache("/d", id = "labelled", z = True, Z = False),
])`,
	},
	pure: true,
	do: func(c *call) (starlark.Value, error) {
		flags, err := c.mountFlags(false)
		if err != nil {
			return nil, err
		}
		k := engine.CacheMount{ID: c.text("id"), Target: c.text("target"), Source: c.text("source"),
			Sharing: c.text("sharing"), Flags: flags}
		if !slices.Contains([]string{"", "shared", "locked", "private"}, k.Sharing) {
			return nil, c.wrong("sharing", `got %q, want "shared", "locked" or "private"`, k.Sharing)
		}
		if k.Mode, k.UID, k.GID, err = c.mountOwner(); err != nil {
			return nil, err
		}
		root := c.values["from_"]
		return c.mount(func(run *call) (engine.Mount, error) {
			made := k
			if root != nil {
				place, err := run.mountPlace(starlark.String("/"), root)
				if err != nil {
					return nil, err
				}
				made.From = &place
			}
			return &made, nil
		})
	},
}
