package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux"
	"go.podman.io/buildah/copier"
	butil "go.podman.io/buildah/pkg/util"
	"go.podman.io/common/libnetwork/etchosts"
	"go.podman.io/common/libnetwork/resolvconf"
	netutil "go.podman.io/common/libnetwork/util"
	"go.podman.io/common/pkg/config"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/pkg/stringid"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// stepFiles are the files that every step gets fresh, whatever an earlier one wrote to them. Volumes of the same name keep
// the image's own, as with the library; so does a step without a network, or that is told to.
func (c *Container) stepFiles(conf *config.Config, way *stepWay) ([]sandbox.File, error) {
	volumes, network, o := c.builder.Volumes(), way.network(), way.options
	var files []sandbox.File
	for _, f := range []struct {
		target  string
		wanted  bool
		content func(*config.Config, *stepWay) ([]byte, error)
	}{
		{config.DefaultHostsFile, !o.NoHosts && network != networkNone, c.hosts},
		{"/etc/hostname", !o.NoHostname, func(*config.Config, *stepWay) ([]byte, error) { return []byte(way.hostname() + "\n"), nil }},
		{resolvconf.DefaultResolvConf, network != networkNone && !isNoDNS(c.builder.CommonBuildOpts.DNSServers), c.resolvConf},
	} {
		if !f.wanted || slices.Contains(volumes, f.target) {
			continue
		}
		content, err := f.content(conf, way)
		if err != nil {
			return nil, err
		}
		files = append(files, sandbox.File{Target: f.target, Content: content, Mode: 0o644})
	}
	return append(files, sandbox.File{Target: "/run/.containerenv", Content: []byte(c.containerEnv()), Mode: 0o755}), nil
}

// hosts returns the content of /etc/hosts. It is made once for steps that ask for the same, unless the image has a say in it.
func (c *Container) hosts(conf *config.Config, way *stepWay) ([]byte, error) {
	extra := slices.Concat(c.builder.CommonBuildOpts.AddHost, way.options.AddHost)
	key := strings.Join(append([]string{way.network(), way.hostname()}, extra...), "\x00")
	if c.hostsFile != nil && c.hostsKey == key && conf.Containers.BaseHostsFile != "image" {
		return c.hostsFile, nil
	}
	base, err := etchosts.GetBaseHostFile(conf.Containers.BaseHostsFile, c.root)
	if err != nil {
		return nil, fmt.Errorf("finding the file that /etc/hosts begins with: %w", err)
	}
	internal := etchosts.HostContainersInternalOptions{Conf: conf}
	var entries etchosts.HostEntries
	if held := way.held(); held != nil {
		internal.Exclude = held.result.IPAddresses
		if ips := held.result.MapGuestAddrIPs; len(ips) > 0 {
			internal.PreferIP = ips[0]
		}
		if ips := held.result.IPAddresses; len(ips) > 0 {
			entries = etchosts.HostEntries{{IP: ips[0].String(), Names: []string{way.hostname(), c.builder.Container}}}
		}
	} else if way.network() == networkHost && way.hostname() != "" {
		if ip := netutil.GetLocalIP(); ip != "" {
			entries = etchosts.HostEntries{{IP: ip, Names: []string{way.hostname()}}}
		}
	}
	c.hostsKey = key
	c.hostsFile, err = c.run.written("hosts", func(target string) error {
		return etchosts.New(&etchosts.Params{
			BaseFile: base, TargetFile: target, ContainerIPs: entries, ExtraHosts: extra,
			HostContainersInternalIP: etchosts.GetHostContainersInternalIP(internal),
		})
	})
	return c.hostsFile, err
}

// resolvConf returns the content of /etc/resolv.conf.
func (c *Container) resolvConf(conf *config.Config, way *stepWay) ([]byte, error) {
	o := c.builder.CommonBuildOpts
	params := &resolvconf.Params{
		IPv6Enabled: true,
		Nameservers: slices.Concat(conf.Containers.DNSServers.Get(), o.DNSServers),
		Searches:    slices.Concat(conf.Containers.DNSSearches.Get(), o.DNSSearch),
		Options:     slices.Concat(conf.Containers.DNSOptions.Get(), o.DNSOptions),
	}
	key := fmt.Sprint(way.network(), params.Nameservers, params.Searches, params.Options)
	if known := c.run.resolv[key]; known != nil {
		return known, nil
	}
	if way.network() != networkHost {
		params.Namespaces = []specs.LinuxNamespace{{Type: specs.NetworkNamespace, Path: namespacePath(way.asked.Network)}}
	}
	if held := way.held(); held != nil {
		params.IPv6Enabled, params.KeepHostServers = held.result.IPv6, true
		if len(params.Nameservers) == 0 {
			params.Nameservers = held.result.DNSForwardIPs
		}
	}
	made, err := c.run.written("resolv.conf", func(target string) error {
		params.Path = target
		return resolvconf.New(params)
	})
	if err == nil {
		c.run.resolv[key] = made
	}
	return made, err
}

// written returns what write writes to the file it is given: the libraries write files, and steps get bytes.
func (b *Builder) written(name string, write func(target string) error) ([]byte, error) {
	target := filepath.Join(b.options.TempDir, name)
	defer os.Remove(target)
	if err := write(target); err != nil {
		return nil, fmt.Errorf("making the steps' /etc/%s: %w", name, err)
	}
	return os.ReadFile(target)
}

// hostname returns the host name of a container's steps.
func (c *Container) hostname() string {
	if name := c.builder.Hostname(); name != "" {
		return name
	}
	return stringid.TruncateID(c.builder.ContainerID)
}

// sysctls returns those settings of containers.conf that concern the namespaces a step has of its own.
func sysctls(conf *config.Config, s *sandbox.Step) (settings []sandbox.Sysctl) {
	if len(conf.Sysctls()) == 0 {
		return nil
	}
	var own []string
	if !s.IPC.Host {
		own = append(own, "fs.mqueue")
	}
	if !s.UTS.Host {
		own = append(own, "kernel.hostname", "kernel.domainname")
	}
	if !s.Network.Host {
		own = append(own, "net")
	}
	for _, setting := range conf.Sysctls() {
		name, value, ok := strings.Cut(setting, "=")
		if ok && slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			settings = append(settings, sandbox.Sysctl{Name: name, Value: value})
		}
	}
	return settings
}

// resources are the limits of setrlimit(2) by the names that containers.conf has for them.
var resources = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC,
	"rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME,
	"sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// parseLimits parses "name=soft:hard".
func parseLimits(texts []string) (limits []sandbox.Limit, err error) {
	for _, text := range texts {
		u, err := butil.ParseUlimit(text)
		if err != nil {
			return nil, fmt.Errorf("parsing limit %q: %w", text, err)
		}
		resource, known := resources[strings.ToLower(u.Name)]
		if !known {
			return nil, fmt.Errorf("parsing limit %q: there is no limit of that name", text)
		}
		if u.Soft < -1 || u.Hard < -1 || uint64(u.Soft) > uint64(u.Hard) { // -1 is no limit
			return nil, fmt.Errorf("parsing limit %q: no limit is less than -1, and none is over its hard limit", text)
		}
		limits = append(limits, sandbox.Limit{Resource: resource, Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return limits, nil
}

// beyondSandbox says what containers.conf or the machine wants of steps that only the library's ways of running them
// can do, or nil.
func beyondSandbox(conf *config.Config) error {
	if selinux.GetEnabled() {
		return errors.New("SELinux is enabled, and only an OCI runtime gives steps its labels")
	}
	for name, mode := range map[string]string{"ipcns": conf.IPCNS(), "pidns": conf.PidNS(), "utsns": conf.UTSNS()} {
		if mode == "host" {
			return fmt.Errorf("containers.conf asks for %s = %q", name, mode)
		}
	}
	if mode := conf.Containers.UserNS; mode != "" && mode != "host" {
		return fmt.Errorf("containers.conf asks for userns = %q", mode)
	}
	if conf.Containers.ContainerNameAsHostName {
		return errors.New("containers.conf asks for container_name_as_hostname")
	}
	return nil
}

// notePulledUp records directories for the commit, however it is made. The library compares them with the image's, so one
// that a step has really changed is committed.
func (c *Container) notePulledUp(parents map[string]rootfs.Info) error {
	grown := false
	for name, info := range parents {
		if slices.ContainsFunc(c.pulledUp, func(p copier.EnsureParentPath) bool { return p.Path == name }) {
			continue
		}
		modified := info.ModTime.UTC()
		c.pulledUp = append(c.pulledUp, copier.EnsureParentPath{
			Path: name, ModTime: &modified, Mode: &info.Mode, Owner: &idtools.IDPair{UID: info.UID, GID: info.GID},
		})
		grown = true
	}
	if !grown {
		return nil
	}
	dir, err := c.run.options.Store.ContainerDirectory(c.id)
	if err != nil {
		return err
	}
	text, err := json.Marshal(c.pulledUp)
	if err != nil {
		return fmt.Errorf("noting what a step's mounts copied up: %w", err)
	}
	file := filepath.Join(dir, pulledUpDir, "rlbuild")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, text, 0o600)); err != nil {
		return fmt.Errorf("noting what a step's mounts copied up: %w", err)
	}
	return nil
}
