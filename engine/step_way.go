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
