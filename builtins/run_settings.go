package builtins

import "github.com/rlbuild/rlbuild/engine"

// runSettingParams are the settings that a step has for itself only.
var runSettingParams = []param{
	{name: "hostname", kind: aString, keyword: true, doc: "the step's host name; the container's ID, or what config says"},
	{name: "no_hostname", kind: aBool, keyword: true, fallback: "False", doc: "the image's own /etc/hostname stays"},
	{name: "no_hosts", kind: aBool, keyword: true, fallback: "False", doc: "the image's own /etc/hosts stays"},
	{name: "no_pivot", kind: aBool, keyword: true, fallback: "False", doc: "enter the root without pivot_root, for roots on a ramdisk; not in the sandbox"},
	{name: "runtime", kind: aString, keyword: true, doc: "OCI runtime to execute the step with, a path or a name in PATH"},
	{name: "runtime_flag", kind: texts, keyword: true, doc: `global flags for the OCI runtime, without the dashes in front: "debug"`},
	historyParam,
}

// runSettings adds what stepParams and runSettingParams say.
func (c *call) runSettings(o *engine.RunOptions) (err error) {
	o.Hostname = c.text("hostname")
	o.NoHostname, o.NoHosts = c.flag("no_hostname", false), c.flag("no_hosts", false)
	o.NoPivot, o.Runtime, o.RuntimeFlag = c.flag("no_pivot", false), c.text("runtime"), c.texts("runtime_flag")
	o.AddHistory = c.history()
	o.StepSettings, err = c.stepSettings()
	return err
}

// runSettingExamples show the settings for run.
var runSettingExamples = []string{
	`# a step without a network, without capabilities, and with a name
run(ctr, ["hostname"], hostname = "builder", network = "none", cap_drop = ["all"], no_hosts = True, no_hostname = True)
run(ctr, "ls -l /dev/nothing && cat /etc/hosts", device = ["/dev/null:/dev/nothing"], add_host = ["db.internal:192.0.2.7"],
    cap_add = ["net_admin"], add_history = True)
run(ctr, "id && pwd", user = "1000:1000", workdir = "/srv/work")
run(ctr, "ls -l /proc/self/ns", ipc = "private", pid = "private", uts = "private", cgroupns = "private")`,
	`# another way to execute a step; what a way can't do is refused
run(ctr, "echo with little isolation", isolation = "chroot")
runtime = arg("runtime", default = "")
if runtime:
    run(ctr, "true", runtime = runtime, runtime_flag = ["debug"], no_pivot = True)
    run(ctr, "true", device = ["example.com/gpu=0"], cdi_config_dir = "cdi")`,
}
