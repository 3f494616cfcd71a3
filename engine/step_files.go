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
// the image's own, as with the library.
func (c *Container) stepFiles(conf *config.Config, netns *heldNetwork) ([]sandbox.File, error) {
	hosts, err := c.hosts(conf, netns)
	if err != nil {
		return nil, err
	}
	resolv, err := c.run.resolvConf(conf, netns)
	if err != nil {
		return nil, err
	}
	var files []sandbox.File
	volumes := c.builder.Volumes()
	for _, f := range []sandbox.File{
		{Target: config.DefaultHostsFile, Content: hosts, Mode: 0o644},
		{Target: "/etc/hostname", Content: []byte(c.hostname() + "\n"), Mode: 0o644},
		{Target: resolvconf.DefaultResolvConf, Content: resolv, Mode: 0o644},
	} {
		if !slices.Contains(volumes, f.Target) {
			files = append(files, f)
		}
	}
	return append(files, sandbox.File{Target: "/run/.containerenv", Content: []byte(c.containerEnv()), Mode: 0o755}), nil
}

// hosts returns the content of /etc/hosts. It is made once for a container, unless the image has a say in it.
func (c *Container) hosts(conf *config.Config, netns *heldNetwork) ([]byte, error) {
	if c.hostsFile != nil && conf.Containers.BaseHostsFile != "image" {
		return c.hostsFile, nil
	}
	base, err := etchosts.GetBaseHostFile(conf.Containers.BaseHostsFile, c.root)
	if err != nil {
		return nil, fmt.Errorf("finding the file that /etc/hosts begins with: %w", err)
	}
	internal := etchosts.HostContainersInternalOptions{Conf: conf}
	var entries etchosts.HostEntries
	if netns != nil {
		internal.Exclude = netns.result.IPAddresses
		if ips := netns.result.MapGuestAddrIPs; len(ips) > 0 {
			internal.PreferIP = ips[0]
		}
		if ips := netns.result.IPAddresses; len(ips) > 0 {
			entries = etchosts.HostEntries{{IP: ips[0].String(), Names: []string{c.hostname(), c.builder.Container}}}
		}
	} else if ip := netutil.GetLocalIP(); ip != "" {
		entries = etchosts.HostEntries{{IP: ip, Names: []string{c.hostname()}}}
	}
	c.hostsFile, err = c.run.written("hosts", func(target string) error {
		return etchosts.New(&etchosts.Params{
			BaseFile: base, TargetFile: target, ContainerIPs: entries,
			HostContainersInternalIP: etchosts.GetHostContainersInternalIP(internal),
		})
	})
	return c.hostsFile, err
}

// resolvConf returns the content of /etc/resolv.conf.
func (b *Builder) resolvConf(conf *config.Config, netns *heldNetwork) ([]byte, error) {
	if b.resolv != nil {
		return b.resolv, nil
	}
	params := &resolvconf.Params{
		IPv6Enabled: true,
		Nameservers: conf.Containers.DNSServers.Get(),
		Searches:    conf.Containers.DNSSearches.Get(),
		Options:     conf.Containers.DNSOptions.Get(),
	}
	if netns != nil {
		params.IPv6Enabled, params.KeepHostServers = netns.result.IPv6, true
		params.Namespaces = []specs.LinuxNamespace{{Type: specs.NetworkNamespace}}
		if len(params.Nameservers) == 0 {
			params.Nameservers = netns.result.DNSForwardIPs
		}
	}
	var err error
	b.resolv, err = b.written("resolv.conf", func(target string) error {
		params.Path = target
		return resolvconf.New(params)
	})
	return b.resolv, err
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
func sysctls(conf *config.Config, netns *heldNetwork) (settings []sandbox.Sysctl) {
	own := []string{"fs.mqueue", "kernel.hostname", "kernel.domainname"}
	if netns != nil {
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
