package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// stepParams are the settings of run steps that a container can have as defaults and a step for itself.
var stepParams = []param{
	{name: "cap_add", kind: texts, keyword: true, doc: `capabilities that steps have besides the usual ones: "net_admin", "all"`},
	{name: "cap_drop", kind: texts, keyword: true, doc: "capabilities that steps don't have"},
	{name: "device", kind: texts, keyword: true,
		doc: `devices of the host that steps find, "HOST[:CONTAINER][:rwm]". An ordinary user's steps get those he may use himself`},
	{name: "cdi_config_dir", kind: aPath, keyword: true, doc: "where files are looked for, besides the usual places, that explain devices named " +
		`"vendor.com/class=name"`},
	{name: "add_host", kind: texts, keyword: true, doc: `lines of /etc/hosts: "NAME:ADDRESS"; the address "host-gateway" is the host's`},
	{name: "network", kind: aString, keyword: true,
		doc: `"private" (connected, the host's ports out of reach), "none", "host", "ns:PATH" to join one; "private" where it can be had`},
	{name: "ipc", kind: aString, keyword: true, doc: `IPC namespace: "private", "host" or "ns:PATH"`},
	{name: "pid", kind: aString, keyword: true, doc: `process IDs: "private", "host" or "ns:PATH"`},
	{name: "uts", kind: aString, keyword: true, doc: `host name: "private", "host" or "ns:PATH"`},
	{name: "cgroupns", kind: aString, keyword: true, doc: `cgroup namespace: "private", "host" or "ns:PATH"`},
	{name: "isolation", kind: aString, keyword: true,
		doc: `how steps are executed: "sandbox", "oci", "rootless", "chroot"; what --isolation says, or the best that can do what is asked`},
}

// stepDefaultParams are all the settings of run steps that a container can have as defaults.
var stepDefaultParams = slices.Concat(stepParams, []param{
	{name: "dns", kind: texts, keyword: true, doc: `addresses of name servers, or "none": the image's own resolv.conf stays`},
	{name: "dns_option", kind: texts, keyword: true, doc: "options of resolv.conf"},
	{name: "dns_search", kind: texts, keyword: true, doc: "domains in which names are looked up"},
	{name: "http_proxy", kind: aBool, keyword: true, fallback: "True", doc: "steps get the proxy variables of rlbuild's environment"},
	{name: "shm_size", kind: aSize, keyword: true, doc: `size of /dev/shm: "64m"`},
	{name: "ulimit", kind: texts, keyword: true, doc: `resource limits, "NAME=SOFT[:HARD]"`},
	{name: "security_opt", kind: texts, keyword: true, doc: `"no-new-privileges", "seccomp=unconfined", "seccomp=FILE", "mask=PATH[:PATH…]", ` +
		`"unmask=PATH[:PATH…]", "unmask=all", "label=…", "apparmor=PROFILE"`},
	{name: "cgroup_parent", kind: aString, keyword: true, doc: "cgroup below which steps get theirs"},
	{name: "cpu_period", kind: anInt, keyword: true, doc: "period of the CPU quota, microseconds"},
	{name: "cpu_quota", kind: anInt, keyword: true, doc: "CPU time in each period, microseconds"},
	{name: "cpu_shares", kind: anInt, keyword: true, doc: "relative weight for CPU time"},
	{name: "cpuset_cpus", kind: aString, keyword: true, doc: `CPUs that steps may use: "0-3", "0,1"`},
	{name: "cpuset_mems", kind: aString, keyword: true, doc: "memory nodes that steps may use"},
	{name: "memory", kind: aSize, keyword: true, doc: `memory that steps may use: "512m"`},
	{name: "memory_swap", kind: aSize, keyword: true, doc: "memory and swap together; -1 for as much swap as there is"},
})

// stepSettings returns what stepParams say.
func (c *call) stepSettings() (s engine.StepSettings, err error) {
	s = engine.StepSettings{
		CapAdd: c.texts("cap_add"), CapDrop: c.texts("cap_drop"),
		Device:    c.texts("device"),
		AddHost:   c.texts("add_host"),
		Isolation: c.text("isolation"),
		Network:   c.text("network"), IPC: c.text("ipc"), PID: c.text("pid"), UTS: c.text("uts"), CgroupNS: c.text("cgroupns"),
	}
	if s.CDIConfigDir, err = c.placeOf("cdi_config_dir"); err != nil {
		return s, err
	}
	return s, s.Check()
}

// stepDefaults returns what stepDefaultParams say.
func (c *call) stepDefaults() (d engine.StepDefaults, err error) {
	if d.StepSettings, err = c.stepSettings(); err != nil {
		return d, err
	}
	d.DNS, d.DNSOption, d.DNSSearch = c.texts("dns"), c.texts("dns_option"), c.texts("dns_search")
	d.HTTPProxy = c.choice("http_proxy")
	d.ShmSize, d.Memory, d.MemorySwap = c.size("shm_size"), c.size("memory"), c.size("memory_swap")
	d.Ulimit, d.SecurityOpt = c.texts("ulimit"), c.texts("security_opt")
	d.CgroupParent, d.CPUSetCPUs, d.CPUSetMems = c.text("cgroup_parent"), c.text("cpuset_cpus"), c.text("cpuset_mems")
	for _, n := range []struct {
		name   string
		least  int64
		target func(int64)
	}{
		{"cpu_period", 1, func(n int64) { d.CPUPeriod = uint64(n) }},
		{"cpu_quota", -1, func(n int64) { d.CPUQuota = n }},
		{"cpu_shares", 1, func(n int64) { d.CPUShares = uint64(n) }},
	} {
		value, ok := c.values[n.name].(starlark.Int)
		if !ok {
			continue
		}
		number, small := value.Int64()
		if !small || number < n.least || number == 0 {
			return d, c.wrong(n.name, "got %s, want a number that can be one", value)
		}
		n.target(number)
	}
	return d, d.Check()
}

// size returns an argument that is a size, as a string: a number is one in bytes.
func (c *call) size(name string) string {
	if n, ok := c.values[name].(starlark.Int); ok {
		return n.String()
	}
	return c.text(name)
}

// stepDefaultExamples show the settings for from_.
var stepDefaultExamples = []string{
	`# what every run step of a container finds
base = commit(ctr, "localhost/base")
careful = from_(base, network = "none", cap_drop = ["all"], security_opt = ["no-new-privileges"], ulimit = ["nofile=256"])
open_ = from_(base, network = "host", ipc = "private", pid = "private", uts = "private", cgroupns = "private",
    cap_add = ["net_admin"], device = ["/dev/null:/dev/nothing"], add_host = ["db.internal:192.0.2.7"], shm_size = "16m",
    dns = ["192.0.2.53"], dns_search = ["example.com"], dns_option = ["ndots:2"], http_proxy = False)
print(run(open_, "grep db.internal /etc/hosts").stdout)`,
	`# limits that need a cgroup: steps have one with an OCI runtime, as root or where the user's cgroup is delegated
base = commit(ctr, "localhost/base")
small = from_(base, memory = "512m", memory_swap = "1g", cpu_period = 100000, cpu_quota = 50000, cpu_shares = 512,
    cpuset_cpus = "0", cpuset_mems = "0", cgroup_parent = "/builds")
gpu = from_(base, isolation = "oci", device = ["example.com/gpu=0"], cdi_config_dir = "cdi")`,
}
