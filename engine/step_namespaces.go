package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// The networks that a step can be in.
const (
	networkHost    = "host"
	networkPrivate = "private"
	networkNone    = "none"
	networkJoined  = "joined"
	networkOther   = "other" // which only the library's way with an OCI runtime connects
)

// network returns which of them the step is in. Where nothing is said, that is what this way found to work.
func (w *stepWay) network() string {
	switch mode := w.asked.Network; {
	case mode == "":
		return w.Isolation.Network
	case ownNamespace(mode):
		return networkPrivate
	case mode == networkNone, mode == networkHost:
		return mode
	case namespacePath(mode) != "":
		return networkJoined
	}
	return networkOther
}

// namespacePath returns the path in "ns:PATH" or "/PATH", or "".
func namespacePath(mode string) string {
	path, given := strings.CutPrefix(mode, "ns:")
	if given || strings.HasPrefix(path, "/") {
		return path
	}
	return ""
}

// held returns the connected network of a step that is in it, or nil.
func (w *stepWay) held() *heldNetwork {
	if w.network() != networkPrivate {
		return nil
	}
	held, _ := w.container.run.connect() // that it works was found out before
	return held
}

// hostname returns the step's host name, "" where it is another's.
func (w *stepWay) hostname() string {
	if !ownNamespace(w.asked.UTS) {
		return ""
	}
	return firstOf(w.options.Hostname, w.container.hostname())
}

// enter puts a sandboxed step into its namespaces. What it opens is closed with the way.
func (w *stepWay) enter(s *sandbox.Step) error {
	for _, n := range []struct {
		option, mode string
		target       *sandbox.Namespace
	}{
		{"network", w.asked.Network, &s.Network}, {"ipc", w.asked.IPC, &s.IPC}, {"uts", w.asked.UTS, &s.UTS},
		{"cgroupns", w.asked.CgroupNS, &s.Cgroup},
	} {
		path := namespacePath(n.mode)
		if path == "" {
			n.target.Host = n.mode == "host"
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(w.container.run.options.Dir, path)
		}
		file, err := os.Open(path)
		if err != nil {
			return failure.New("", n.option, "%w", err).WithHint("ns:PATH names a namespace to join, for example /proc/PID/ns/net.")
		}
		w.opened = append(w.opened, file)
		n.target.Join = file
	}
	s.HostPID = w.asked.PID == "host"
	if w.network() == networkHost {
		s.Network.Host = true
	} else if held := w.held(); held != nil {
		s.Network.Join = held.file
	}
	return nil
}

// bindDevices shows a sandboxed step its devices. They are usable.
func (w *stepWay) bindDevices(s *sandbox.Step) {
	for _, device := range w.asked.Device {
		source, target, _, _ := parse.Device(device)
		bind := sandbox.Bind{Source: source, Target: target}
		if strings.HasPrefix(filepath.Clean(target), "/dev/") {
			s.Devices = append(s.Devices, bind)
		} else {
			s.Binds = append(s.Binds, bind)
		}
	}
}

// filter returns the step's system call filter, nil for none.
func (w *stepWay) filter() (*sandbox.Filter, error) {
	profile := w.container.builder.CommonBuildOpts.SeccompProfilePath
	if profile == unconfined {
		return nil, nil
	}
	have, err := w.capabilities()
	if err != nil {
		return nil, err
	}
	return w.container.run.filterFor(profile, have)
}

// capabilities returns the step's.
func (w *stepWay) capabilities() ([]string, error) {
	return addedCapabilities(w.container.builder.Capabilities, &w.options.StepSettings)
}

// capabilityChange returns what the step has more and less than its container, for the library: its own reading of "all" is
// another for steps than for containers.
func (w *stepWay) capabilityChange() (more, less []string, err error) {
	have, err := w.capabilities()
	base := w.container.builder.Capabilities
	without := func(all, other []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(c string) bool { return slices.Contains(other, c) })
	}
	return without(have, base), without(base, have), err
}

// masked returns what steps can't read, as the library has it (setupMaskedPaths).
func masked(usual []string, o *define.CommonBuildOptions) []string {
	if slices.Contains(o.Unmasks, "all") {
		return nil
	}
	return slices.DeleteFunc(slices.Concat(usual, o.Masks), func(name string) bool {
		return slices.ContainsFunc(o.Unmasks, func(pattern string) bool {
			match, _ := filepath.Match(pattern, name)
			return match
		})
	})
}

// libraryNamespaces are the namespaces for the library: what is asked for, and the host's network where none can be
// connected.
func (w *stepWay) libraryNamespaces() (define.NamespaceOptions, define.NetworkConfigurationPolicy, error) {
	all, policy, err := w.asked.namespaces(w.container.run.options.Dir, true)
	if w.asked.Network == "" && w.Isolation.Network == "host" {
		all.AddOrReplace(define.NamespaceOption{Name: string(specs.NetworkNamespace), Host: true})
	}
	return all, policy, err
}

// namespaces returns the settings as the library takes them: only those that are given. With look, paths must exist.
//
// The policy depends on the network alone. In buildah's command line any of the other options behind it sets it anew:
// there --network none --pid host has a network.
func (s *StepSettings) namespaces(dir string, look bool) (all define.NamespaceOptions, policy define.NetworkConfigurationPolicy, err error) {
	policy = define.NetworkDefault
	for _, n := range []struct {
		option, mode string
		kind         specs.LinuxNamespaceType
	}{
		{"network", s.Network, specs.NetworkNamespace}, {"ipc", s.IPC, specs.IPCNamespace}, {"pid", s.PID, specs.PIDNamespace},
		{"uts", s.UTS, specs.UTSNamespace}, {"cgroupns", s.CgroupNS, specs.CgroupNamespace},
	} {
		if n.mode == "" {
			continue
		}
		isNetwork := n.kind == specs.NetworkNamespace
		if isNetwork {
			policy = define.NetworkEnabled
		}
		one := define.NamespaceOption{Name: string(n.kind)}
		path, isPath := strings.CutPrefix(n.mode, "ns:")
		switch {
		case n.mode == "private", n.mode == "container":
		case n.mode == "host":
			one.Host = true
		case n.mode == "none" && isNetwork:
			policy = define.NetworkDisabled
		case isPath && path != "" || strings.HasPrefix(path, "/"):
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			if _, err := os.Stat(path); err != nil && look {
				return nil, policy, failure.New("", n.option, "%w", err).WithHint("ns:PATH names a namespace to join, for example /proc/PID/ns/net.")
			}
			one.Path = path
		case isNetwork && !isPath:
			one.Path = n.mode // for the library to connect
		default:
			e := failure.New("", n.option, "%q is no namespace", n.mode)
			if isNetwork {
				return nil, policy, e.WithHint(`there are "private", "none", "host" and "ns:PATH".`)
			}
			return nil, policy, e.WithHint(`there are "private", "host" and "ns:PATH".`)
		}
		all = append(all, one)
	}
	return all, policy, nil
}
