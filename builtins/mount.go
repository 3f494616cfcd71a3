package builtins

import "go.starlark.net/starlark"

var mountVerb = &verb{
	name:    "mount",
	summary: "mounts a container's root file system",
	doc: `The mount is held until the script ends or umount releases it, and its path stays the same for the whole script.
Mounting what is mounted gives the same path. What is done through the path resolves inside the root, links and all.`,
	params: []param{ctrParam},
	gives:  "the root's path",
	example: `root = mount(ctr)
(root / "etc/motd").write("hello\n")`,
	do: func(c *call) (starlark.Value, error) {
		container := c.container()
		root, err := container.Mount()
		if err != nil {
			return nil, err
		}
		return &pathValue{c.session, container, root, "/"}, nil
	},
}

var umountVerb = &verb{
	name:    "umount",
	summary: "releases a container's mount before the script ends",
	params:  []param{ctrParam},
	example: `root = mount(ctr)
umount(ctr)`,
	do: func(c *call) (starlark.Value, error) { return nil, c.container().Unmount() },
}
