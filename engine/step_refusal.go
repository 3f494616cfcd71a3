package engine

import (
	"errors"
	"os"
	"strings"

	"github.com/opencontainers/selinux/go-selinux"
	"go.podman.io/buildah/pkg/parse"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/failure"
)

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
