package engine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/selinux/go-selinux"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// stepWay is how one step is executed: one of the ways there are, and what is asked of it.
type stepWay struct {
	*Isolation
	asked     StepSettings // by the step itself, else by its container
	options   *RunOptions
	container *Container
	opened    []*os.File // namespaces that a sandboxed step joins
}

func (w *stepWay) close() error {
	var errs []error
	for _, file := range w.opened {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

// wayFor chooses how a step is executed. Where that is left to rlbuild and the sandbox can't do what is asked, an OCI runtime
// is taken; a way that was asked for and can't is an error, as is a step that no way can execute.
func (c *Container) wayFor(o *RunOptions) (*stepWay, error) {
	w := &stepWay{asked: c.settingsOf(o), container: c, options: o}
	if err := w.contradiction(); err != nil {
		return nil, err
	}
	asked, runtime := w.asked.Isolation, o.Runtime
	if strings.Contains(runtime, "/") && !filepath.IsAbs(runtime) {
		runtime = filepath.Join(c.run.options.Dir, runtime)
	}
	if asked == "" && runtime == "" {
		usual, err := c.run.isolation()
		if err != nil {
			return nil, err
		}
		w.Isolation = usual
		refused := w.refusal()
		if refused == nil || usual.Kind != sandboxKind || c.run.options.Isolation != "" {
			return w, orNil(refused)
		}
		return w, w.byRuntime(refused)
	}
	if asked == "" {
		asked = "oci"
	}
	if runtime != "" && asked != "oci" && asked != "rootless" {
		return nil, failure.New("", "runtime", "isolation %q has no OCI runtime", asked).
			WithHint("leave isolation out, or say isolation = \"oci\".")
	}
	chosen, err := c.run.way(asked, firstOf(runtime, c.run.options.Runtime))
	if err != nil {
		return nil, err
	}
	w.Isolation = chosen
	return w, orNil(w.refusal())
}

// orNil keeps a nil *failure.Error from being an error.
func orNil(e *failure.Error) error {
	if e == nil {
		return nil
	}
	return e
}

// byRuntime takes an OCI runtime for a step that the sandbox can't execute. There is no third way: a chroot keeps less apart.
func (w *stepWay) byRuntime(refused *failure.Error) error {
	run := w.container.run
	next, err := run.way("oci", "")
	if err == nil {
		w.Isolation = next
		if err = orNil(w.refusal()); err == nil {
			run.say("steps with " + refused.Subject + " run with " + next.String() + ": " + refused.Error())
			return nil
		}
		if err.Error() == refused.Error() {
			return refused
		}
	}
	e := failure.New("", refused.Subject, "%w; and an OCI runtime can't either: %v", refused.Err, err)
	e.Hint = firstOf(failure.HintOf(err), refused.Hint)
	return e
}

// say tells the user something once.
func (b *Builder) say(line string) {
	if !b.said[line] {
		b.said[line] = true
		b.options.Info(line)
	}
}

// settingsOf returns what a step says, else its container.
func (c *Container) settingsOf(o *RunOptions) StepSettings {
	s, d := o.StepSettings, &c.defaults
	s.Isolation = firstOf(s.Isolation, d.Isolation)
	s.Network, s.IPC, s.PID = firstOf(s.Network, d.Network), firstOf(s.IPC, d.IPC), firstOf(s.PID, d.PID)
	s.UTS, s.CgroupNS = firstOf(s.UTS, d.UTS), firstOf(s.CgroupNS, d.CgroupNS)
	s.CDIConfigDir = firstOf(s.CDIConfigDir, d.CDIConfigDir)
	s.Device = slices.Concat(o.Device, c.builder.DeviceSpecs)
	return s
}

// ownNamespace tells whether steps get a namespace of their own by this setting.
func ownNamespace(mode string) bool { return mode == "" || mode == "private" || mode == "container" }

// longestName is what the kernel takes for a host name (HOST_NAME_MAX).
const longestName = 64

// contradiction returns what can't be together, whatever way is taken.
func (w *stepWay) contradiction() error {
	o := w.options
	switch {
	case o.Hostname != "" && !ownNamespace(w.asked.UTS):
		return failure.New("", "hostname", "the step has no host name of its own with uts = %q", w.asked.UTS).WithHint("leave one of them out.")
	case o.NoHosts && len(o.AddHost) > 0:
		return failure.New("", "add_host", "there is no /etc/hosts to add to with no_hosts").WithHint("leave one of them out.")
	case w.asked.Network == "none" && len(o.AddHost) > 0:
		return noHostsFile()
	case len(o.Hostname) > longestName:
		return failure.New("", "hostname", "%q is longer than %d bytes", o.Hostname, longestName)
	case w.asked.IPC == "host" && w.container.defaults.ShmSize != "":
		return failure.New("", "shm_size", "/dev/shm is the host's with ipc = \"host\"").WithHint("leave one of them out.")
	}
	return nil
}

// refusal says which option the chosen way can't honour, why, and what to do; nil if it can execute the step.
func (w *stepWay) refusal() *failure.Error {
	switch w.Kind {
	case sandboxKind:
		return w.sandboxRefusal()
	case "chroot":
		return w.chrootRefusal()
	}
	return w.runtimeRefusal()
}

const (
	takeRuntime = "it takes an OCI runtime: isolation = \"oci\", with crun or runc installed."
	leaveOut    = "leave it out, or run the step with another isolation."
)

// sandboxRefusal is about rlbuild's own executor.
func (w *stepWay) sandboxRefusal() *failure.Error {
	common, options := w.container.builder.CommonBuildOpts, w.options
	switch {
	case w.limit() != "":
		return failure.New("", w.limit(), "steps in the sandbox have no cgroup of their own").WithHint(takeRuntime)
	case !plainLabels(common.LabelOpts):
		return failure.New("", "security_opt", "the sandbox gives steps no labels").WithHint(takeRuntime)
	case !plainProfile(common.ApparmorProfile):
		return failure.New("", "security_opt", "the sandbox gives steps no AppArmor profile").WithHint(takeRuntime)
	case options.NoPivot:
		return failure.New("", "no_pivot", "the sandbox enters the root by pivot_root alone").WithHint(leaveOut)
	case options.Runtime != "", len(options.RuntimeFlag) > 0:
		return failure.New("", "runtime_flag", "the sandbox has no OCI runtime").WithHint(takeRuntime)
	case !ownNamespace(w.asked.PID) && w.asked.PID != "host":
		return failure.New("", "pid", "the sandbox can't join a pid namespace").WithHint(takeRuntime)
	}
	switch w.network() {
	case networkOther:
		return failure.New("", "network", "the sandbox doesn't connect steps with %q", w.asked.Network).WithHint(takeRuntime)
	case networkPrivate:
		if _, err := w.container.run.connect(); err != nil && w.asked.Network != "" {
			return notConnected(w.asked.Network, err)
		}
	}
	for _, device := range w.asked.Device {
		if isCDI(device) {
			return failure.New("", "device", "only an OCI runtime reads what CDI files say of %q", device).WithHint(takeRuntime)
		}
		if err := usable(device); err != nil {
			return err
		}
	}
	if common.SeccompProfilePath != "" {
		if _, err := w.filter(); err != nil {
			return failure.New("", "security_opt", "%w", err).WithHint(takeRuntime)
		}
	}
	return nil
}

// runtimeRefusal is about OCI runtimes, by the library.
func (w *stepWay) runtimeRefusal() *failure.Error {
	common := w.container.builder.CommonBuildOpts
	if err := labelsRefused(common); err != nil {
		return err
	}
	if limit := w.limit(); limit != "" {
		if err := cgroupRefused(); err != nil {
			return failure.New("", limit, "%w", err).WithHint("have the user's cgroup delegated (systemd does for a login session on cgroup v2), or run rlbuild as root.")
		}
	}
	if _, err := os.Stat("/dev/mqueue"); err != nil && w.asked.IPC == "host" && unshare.IsRootless() {
		return failure.New("", "ipc", "the library shows such a step the host's message queues, and there are none here: %w", err).
			WithHint("leave it out, or mount the file system mqueue on /dev/mqueue.")
	}
	switch w.network() {
	case networkPrivate:
		if w.asked.Network != "" && w.Isolation.Network == "host" {
			return notConnected(w.asked.Network, errors.New(w.Shared))
		}
	case networkOther:
		name, _, _ := strings.Cut(w.asked.Network, ":")
		if w.Isolation.Network == "host" && name == "pasta" {
			return notConnected(w.asked.Network, errors.New(w.Shared))
		}
		if unshare.IsRootless() && name != "pasta" {
			return failure.New("", "network", "an ordinary user's steps can't be connected with the network %q", w.asked.Network).
				WithHint(`there are "private", "none", "host", "ns:PATH" and "pasta:OPTIONS".`)
		}
	}
	for _, device := range w.asked.Device {
		if isCDI(device) || !unshare.IsRootless() {
			continue
		}
		if err := usable(device); err != nil {
			return err
		}
		if source, _, _, _ := parse.Device(device); strings.HasPrefix(source, "/dev/tty") && source != "/dev/tty" {
			return failure.New("", "device", "the library leaves the terminal %s out of an ordinary user's steps", source).WithHint(leaveOut)
		}
	}
	return nil
}

// chrootRefusal is about the library's chroot, which passes over in silence what it can't do.
func (w *stepWay) chrootRefusal() *failure.Error {
	common, options := w.container.builder.CommonBuildOpts, w.options
	shared := func(option, value string) *failure.Error {
		return failure.New("", option, "a step in a chroot shares the host's, and can't have %q", value).WithHint(leaveOut)
	}
	switch {
	case w.limit() != "":
		return failure.New("", w.limit(), "steps in a chroot have no cgroup of their own").WithHint(leaveOut)
	case w.asked.Network != "" && w.asked.Network != "host":
		return shared("network", w.asked.Network)
	case w.asked.IPC != "" && w.asked.IPC != "host":
		return shared("ipc", w.asked.IPC)
	case w.asked.PID != "" && w.asked.PID != "host":
		return shared("pid", w.asked.PID)
	case w.asked.CgroupNS != "" && w.asked.CgroupNS != "host":
		return shared("cgroupns", w.asked.CgroupNS)
	case !ownNamespace(w.asked.UTS):
		return failure.New("", "uts", "a step in a chroot always has a host name of its own, and can't have %q", w.asked.UTS).WithHint(leaveOut)
	case w.container.defaults.ShmSize != "":
		return failure.New("", "shm_size", "a step in a chroot has the host's /dev/shm").WithHint(leaveOut)
	case options.Runtime != "", len(options.RuntimeFlag) > 0:
		return failure.New("", "runtime_flag", "a chroot has no OCI runtime").WithHint(takeRuntime)
	case !plainLabels(common.LabelOpts) && !selinux.GetEnabled():
		return labelsRefused(common)
	case common.NoNewPrivileges && common.SeccompProfilePath == unconfined:
		return failure.New("", "security_opt", "a chroot forgets no-new-privileges without a seccomp profile").WithHint(leaveOut)
	}
	if err := labelsRefused(common); err != nil {
		return err
	}
	for _, device := range w.asked.Device {
		if isCDI(device) {
			return failure.New("", "device", "a chroot doesn't read what CDI files say of %q", device).WithHint(takeRuntime)
		}
		if err := usable(device); err != nil {
			return err
		}
		source, target, _, _ := parse.Device(device)
		if strings.HasPrefix(target, "/dev/") && target != source {
			return failure.New("", "device", "a chroot shows the host's /dev as it is, and %s not as %s", source, target).WithHint(leaveOut)
		}
	}
	return nil
}

// limit names the first option that needs a cgroup, or "". What counts is what the container was made with, also by
// another run or by buildah.
func (w *stepWay) limit() string {
	o := w.container.builder.CommonBuildOpts
	switch {
	case o.Memory != 0:
		return "memory"
	case o.MemorySwap != 0:
		return "memory_swap"
	case o.CPUPeriod != 0:
		return "cpu_period"
	case o.CPUQuota != 0:
		return "cpu_quota"
	case o.CPUShares != 0:
		return "cpu_shares"
	case o.CPUSetCPUs != "":
		return "cpuset_cpus"
	case o.CPUSetMems != "":
		return "cpuset_mems"
	case o.CgroupParent != "":
		return "cgroup_parent"
	}
	return ""
}

// cgroupRefused says why steps of this user can't have cgroups, or nil.
func cgroupRefused() error {
	if !unshare.IsRootless() {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return errors.New("an ordinary user's steps have cgroups with cgroup v2 only, and this machine has version 1")
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	_, own, _ := strings.Cut(strings.TrimSpace(string(text)), "0::")
	if err := unix.Access(filepath.Join("/sys/fs/cgroup", own), unix.W_OK); err != nil {
		return errors.New("the cgroup that rlbuild runs in isn't the user's to divide")
	}
	return nil
}

// plainLabels tells whether no labels are asked for.
func plainLabels(labels []string) bool {
	return !slices.ContainsFunc(labels, func(l string) bool { return l != "disable" })
}

// plainProfile tells whether no AppArmor profile is asked for.
func plainProfile(profile string) bool {
	return profile == "" || profile == unconfined && !apparmorEnabled()
}

func apparmorEnabled() bool {
	text, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(text), "Y")
}

// labelsRefused is about what the machine must have.
func labelsRefused(o *define.CommonBuildOptions) *failure.Error {
	if !plainLabels(o.LabelOpts) && !selinux.GetEnabled() {
		return failure.New("", "security_opt", "SELinux isn't enabled on this machine, so steps have no labels").
			WithHint("leave label=… out, or give label=disable.")
	}
	if !plainProfile(o.ApparmorProfile) && !apparmorEnabled() {
		return failure.New("", "security_opt", "AppArmor isn't enabled on this machine, so there is no profile %q", o.ApparmorProfile).
			WithHint("leave apparmor=… out.")
	}
	return nil
}

func notConnected(mode string, err error) *failure.Error {
	return failure.New("", "network", "%q can't be had here: %w", mode, err).
		WithHint(`say network = "host" to share the host's, or "none"; "rlbuild doctor" says more.`)
}

// usable checks a device of the host that is to be bound: device nodes can't be made in a user namespace.
func usable(device string) *failure.Error {
	source, _, permissions, err := parse.Device(device)
	if err != nil {
		return failure.New("", "device", "%w", err)
	}
	if !strings.Contains(permissions, "r") || !strings.Contains(permissions, "w") {
		return failure.New("", "device", "%q: only a cgroup keeps a step from reading or writing a device it has, and an ordinary user's has none", device).
			WithHint("give the device as it is, or run as root with an OCI runtime.")
	}
	info, err := os.Stat(source)
	if err != nil {
		return failure.New("", "device", "%w", err)
	}
	if info.IsDir() {
		return nil
	}
	if info.Mode()&os.ModeDevice == 0 {
		return failure.New("", "device", "%s is no device", source).WithHint("files and directories are shown to steps as volumes.")
	}
	if err := unix.Access(source, unix.R_OK|unix.W_OK); err != nil {
		return failure.New("", "device", "%s: its owner and mode (%s) keep you from using it: %w", source, info.Mode(), err).
			WithHint("a step can use what you can; have an administrator let you, by its mode or group.")
	}
	return nil
}
