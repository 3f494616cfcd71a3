package builtins

import "github.com/rlbuild/rlbuild/engine"

// userParams are the options of from_ and build about the IDs of files and steps.
var userParams = []param{
	{name: "group_add", kind: texts, keyword: true,
		doc: `more groups that steps are in, names in the image or numbers; "keep-groups" for your own supplementary groups`},
	{name: "userns", kind: aString, keyword: true, doc: `user namespace of the container: "host" (rlbuild's own), "private", ` +
		`"keep-id[:uid=N,gid=N]" (you have your own number there), "auto[:size=N]" (IDs that no other container has), "ns:PATH"`},
	{name: "userns_uid_map", kind: texts, keyword: true,
		doc: `user IDs there, "CONTAINER:HOST:SIZE"; HOST is one of rlbuild's namespace, where 0 is you and your sub-IDs begin at 1`},
	{name: "userns_gid_map", kind: texts, keyword: true, doc: "group IDs there; where only one map is given it counts for both"},
	{name: "userns_uid_map_user", kind: aString, keyword: true, doc: "a user whose range of /etc/subuid is mapped; for root"},
	{name: "userns_gid_map_group", kind: aString, keyword: true, doc: "a group whose range of /etc/subgid is mapped; for root"},
}

// users returns what those options say.
func (c *call) users() engine.UserOptions {
	return engine.UserOptions{
		GroupAdd: c.texts("group_add"), UserNS: c.text("userns"),
		UIDMap: c.texts("userns_uid_map"), GIDMap: c.texts("userns_gid_map"),
		UIDMapUser: c.text("userns_uid_map_user"), GIDMapGroup: c.text("userns_gid_map_group"),
	}
}

var userExamples = []string{
	`# files belong to IDs that nothing else has; in the image they are 0 and up as always
image = commit(ctr, "localhost/base")
apart = from_(image, userns = "auto:size=2000", group_add = ["app", "1234"])
print(run(apart, ["id"]).stdout, run(apart, ["cat", "/proc/self/uid_map"]).stdout)
mapped = from_(image, userns_uid_map = ["0:1000:2000"], userns_gid_map = ["0:3000:2000"])
run(mapped, "touch /made")
print((mount(mapped) / "made").stat().uid)`,
	`# as root: the range of a user who has some
user = arg("user", default = "", help = "one who is named in /etc/subuid")
if user:
    ranges = from_("scratch", userns_uid_map_user = user, userns_gid_map_group = user)`,
}
