package engine

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah/define"
	"go.podman.io/common/libnetwork/etchosts"
	"go.podman.io/common/libnetwork/resolvconf"
	netutil "go.podman.io/common/libnetwork/util"
	"go.podman.io/common/pkg/config"
	"go.podman.io/storage/pkg/stringid"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/failure"
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

// noHostsFile is the error of hosts for a step whose /etc/hosts is the image's.
func noHostsFile() *failure.Error {
	return failure.New("", "add_host", `a step with network = "none" has the image's own /etc/hosts`).WithHint("leave one of them out.")
}

// checkHost checks "name:address".
func checkHost(text string) error {
	name, address, found := strings.Cut(text, ":")
	_, err := netip.ParseAddr(strings.Trim(address, "[]"))
	if !found || name == "" || err != nil && address != etchosts.HostGateway {
		return failure.New("", "add_host", "%q is not NAME:ADDRESS", text).
			WithHint(`for example "db.internal:192.0.2.7"; the address "host-gateway" is the host's.`)
	}
	return nil
}

// noDNS is the one server that means that steps see the image's own resolv.conf.
const noDNS = "none"

// isNoDNS tells whether these are that server alone.
func isNoDNS(servers []string) bool { return len(servers) == 1 && strings.EqualFold(servers[0], noDNS) }

// checkDNS returns what is wrong with the servers, or with the other options beside them.
func (s *StepDefaults) checkDNS() error {
	if isNoDNS(s.DNS) {
		for option, values := range map[string][]string{"dns_search": s.DNSSearch, "dns_option": s.DNSOption} {
			if len(values) > 0 {
				return failure.New("", option, `can't be together with dns = "none", which leaves the image's resolv.conf alone`)
			}
		}
		return nil
	}
	for _, server := range s.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			return failure.New("", "dns", "%q is no address", server).WithHint(`"none" alone leaves the image's resolv.conf alone.`)
		}
	}
	return nil
}

// rootlessFlag is what the library writes into /run/.containerenv.
func rootlessFlag() int {
	if unshare.IsRootless() {
		return 1
	}
	return 0
}

// containerEnv is the content of /run/.containerenv, by which programs know where they run.
func (c *Container) containerEnv() string {
	return fmt.Sprintf("\nengine=\"buildah-%s\"\nname=%q\nid=%q\nimage=%q\nimageid=%q\nrootless=%d\n",
		define.Version, c.builder.Container, c.builder.ContainerID, c.builder.FromImage, c.builder.FromImageID, rootlessFlag())
}
