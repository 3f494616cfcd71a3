package engine

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"
	butil "go.podman.io/buildah/pkg/util"
	"go.podman.io/common/libnetwork/etchosts"
	"go.podman.io/common/pkg/capabilities"
	"go.podman.io/common/pkg/config"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// StepSettings say how run steps are executed, as defaults of a container or for one step. The values are those of
// buildah's flags of the same names; the zero value says nothing.
type StepSettings struct {
	CapAdd, CapDrop []string // with or without "CAP_"; "all"
	Device          []string // "/dev/fuse", "/dev/sdc:/dev/xvdc:rw", or a name that CDI files explain
	CDIConfigDir    string   // a host path, where such files are looked for besides
	AddHost         []string // "name:address", or "name:host-gateway"
	Isolation       string   // one of Isolations()

	Network  string // "private", "none", "host", "ns:PATH", or what an OCI runtime's way connects: "pasta:…", networks
	IPC      string // "private", "host" or "ns:PATH"; so the rest
	PID      string
	UTS      string
	CgroupNS string
}

// StepDefaults say how a container's run steps are executed where a step doesn't say otherwise.
type StepDefaults struct {
	StepSettings

	DNS         []string // addresses, or "none" alone: the image's own resolv.conf
	DNSOption   []string
	DNSSearch   []string
	HTTPProxy   *bool    // whether steps get the proxy variables of rlbuild's environment; nil means they do
	ShmSize     string   // "64m"
	Ulimit      []string // "nofile=1024:2048"
	SecurityOpt []string // "seccomp=FILE", "mask=/proc/a:/proc/b", ...; see parseSecurity

	CgroupParent string
	CPUPeriod    uint64 // microseconds
	CPUQuota     int64  // microseconds
	CPUShares    uint64
	CPUSetCPUs   string // "0-3"
	CPUSetMems   string
	Memory       string // "512m"
	MemorySwap   string // memory and swap together; "-1" for as much as there is
}

// Check returns what is wrong with the settings by themselves, whatever the machine can do and has.
func (s *StepSettings) Check() error {
	if s.Isolation != "" && !slices.Contains(Isolations(), s.Isolation) {
		return failure.New("", "isolation", "%q is none of %s", s.Isolation, strings.Join(Isolations(), ", "))
	}
	for _, host := range s.AddHost {
		if err := checkHost(host); err != nil {
			return err
		}
	}
	for _, device := range s.Device {
		if err := checkDevice(device); err != nil {
			return err
		}
	}
	if s.Network == "none" && len(s.AddHost) > 0 {
		return noHostsFile()
	}
	if _, err := addedCapabilities(nil, s); err != nil {
		return err
	}
	_, _, err := s.namespaces("", false)
	return err
}

// Check returns what is wrong with the settings by themselves, whatever the machine can do and has.
func (s *StepDefaults) Check() error {
	if err := s.StepSettings.Check(); err != nil {
		return err
	}
	if s.Network == "none" && len(s.DNS)+len(s.DNSSearch)+len(s.DNSOption) > 0 && !isNoDNS(s.DNS) {
		return failure.New("", "dns", `a step with network = "none" has the image's own /etc/resolv.conf`).WithHint("leave one of them out.")
	}
	_, err := s.common("")
	return err
}

// buildOptions returns the settings as the library takes them. Relative host paths start in the run's directory.
func (b *Builder) buildOptions(conf *config.Config, s *StepDefaults) (*define.CommonBuildOptions, error) {
	// A new one for each container: the library keeps the pointer and writes through it.
	o, err := s.common(b.options.Dir)
	if err != nil {
		return nil, err
	}
	o.Ulimit = limits(conf.Containers.DefaultUlimits.Get(), s.Ulimit)
	o.ShmSize = firstOf(o.ShmSize, conf.Containers.ShmSize)
	if o.SeccompProfilePath == "" {
		o.SeccompProfilePath = defaultSeccomp(conf)
	} else if o.SeccompProfilePath != unconfined {
		if _, err := os.Stat(o.SeccompProfilePath); err != nil {
			return nil, failure.New("", "security_opt", "seccomp profile: %w", err).
				WithHint("seccomp=FILE names a profile in the containers tools' JSON, seccomp=unconfined does without.")
		}
	}
	return o, nil
}

// isolations are the library's; where there is none, it chooses by itself.
var isolations = map[string]define.Isolation{
	"oci": define.IsolationOCI, "rootless": define.IsolationOCIRootless, "chroot": define.IsolationChroot,
}

// setDefaults makes the settings those of a container that is to be made.
func (b *Builder) setDefaults(o *buildah.BuilderOptions, conf *config.Config, s *StepDefaults) (err error) {
	if o.CommonBuildOpts, err = b.buildOptions(conf, s); err != nil {
		return err
	}
	if o.NamespaceOptions, o.ConfigureNetwork, err = s.namespaces(b.options.Dir, true); err != nil {
		return err
	}
	if o.Capabilities, err = conf.Capabilities("", nil, nil); err != nil {
		return fmt.Errorf("reading the default capabilities: %w", err)
	}
	if o.Capabilities, err = addedCapabilities(o.Capabilities, &s.StepSettings); err != nil {
		return err
	}
	if o.DeviceSpecs, o.CDIConfigDir = s.Device, s.CDIConfigDir; o.DeviceSpecs == nil {
		o.DeviceSpecs = conf.Containers.Devices.Get()
	}
	o.Isolation = isolations[s.Isolation]
	return nil
}

// common parses what needs neither configuration nor files.
func (s *StepDefaults) common(dir string) (*define.CommonBuildOptions, error) {
	o := &define.CommonBuildOptions{
		AddHost:    s.AddHost,
		DNSServers: s.DNS, DNSOptions: s.DNSOption, DNSSearch: s.DNSSearch,
		HTTPProxy: s.HTTPProxy == nil || *s.HTTPProxy,
		Ulimit:    s.Ulimit,
		CPUPeriod: s.CPUPeriod, CPUQuota: s.CPUQuota, CPUShares: s.CPUShares,
		CPUSetCPUs: s.CPUSetCPUs, CPUSetMems: s.CPUSetMems, CgroupParent: s.CgroupParent,
	}
	if err := s.checkDNS(); err != nil {
		return nil, err
	}
	for _, limit := range s.Ulimit {
		if _, err := butil.ParseUlimit(limit); err != nil {
			return nil, failure.New("", "ulimit", "%q is not NAME=SOFT[:HARD]", limit).
				WithHint(`for example "nofile=1024:2048"; -1 is the limit of rlbuild itself.`)
		}
	}
	var err error
	if o.Memory, err = size("memory", s.Memory); err != nil {
		return nil, err
	}
	if s.MemorySwap == "-1" {
		o.MemorySwap = -1
	} else if o.MemorySwap, err = size("memory_swap", s.MemorySwap); err != nil {
		return nil, err
	}
	if o.ShmSize, err = shmSize(s.ShmSize); err != nil {
		return nil, err
	}
	for _, opt := range s.SecurityOpt {
		if err := parseSecurity(o, opt, dir); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// limits returns the resource limits of steps, as "name=soft:hard", each once: what is asked for, else what containers.conf
// says, else for open files and processes, as the library has it, all that this process may give.
func limits(configured, asked []string) []string {
	var all, last []string
	for name, resource := range map[string]int{"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC} {
		var have unix.Rlimit
		if err := unix.Getrlimit(resource, &have); err == nil {
			all = append(all, fmt.Sprintf("%s=%d", name, int64(have.Max))) // -1 is the limit there is
		}
	}
	seen := map[string]bool{}
	for _, limit := range slices.Backward(slices.Concat(all, configured, asked)) {
		name, _, _ := strings.Cut(strings.ToLower(limit), "=")
		if !seen[name] {
			last = append(last, limit)
		}
		seen[name] = true
	}
	return last
}

// size parses "512m", in bytes.
func size(option, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return 0, failure.New("", option, "%q is no size", text).WithHint(`for example "512m" or "2g".`)
	}
	return n, nil
}

// tmpfsSize is a size as tmpfs(5) takes it.
var tmpfsSize = regexp.MustCompile(`^[1-9][0-9]*[kKmMgG%]?$`)

// shmSize returns a size in a form that tmpfs takes: it knows "64m" and not "64MB".
func shmSize(text string) (string, error) {
	if text == "" || tmpfsSize.MatchString(text) {
		return text, nil
	}
	n, err := size("shm_size", text)
	return fmt.Sprint(n), err
}

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

func isNoDNS(servers []string) bool { return len(servers) == 1 && strings.EqualFold(servers[0], noDNS) }

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

// unconfined is the profile that stands for none.
const unconfined = "unconfined"

// parseSecurity parses one of security_opt, as the library's parse.CommonBuildOptions does.
func parseSecurity(o *define.CommonBuildOptions, opt, dir string) error {
	if opt == "no-new-privileges" {
		o.NoNewPrivileges = true
		return nil
	}
	name, value, _ := strings.Cut(opt, "=")
	if value == "" {
		name = "" // none of them goes without
	}
	switch name {
	case "label":
		o.LabelOpts = append(o.LabelOpts, value)
	case "apparmor":
		o.ApparmorProfile = value
	case "seccomp":
		if value != unconfined && !filepath.IsAbs(value) {
			value = filepath.Join(dir, value)
		}
		o.SeccompProfilePath = value
	case "mask", "unmask":
		for _, name := range strings.Split(value, ":") {
			if !filepath.IsAbs(name) && opt != "unmask=all" {
				return failure.New("", "security_opt", "%q in %q is no absolute path", name, opt)
			}
		}
		if name == "mask" {
			o.Masks = append(o.Masks, strings.Split(value, ":")...)
			break
		}
		for _, pattern := range strings.Split(value, ":") {
			// The host's /proc and /sys are looked at, as buildah does.
			if matches, _ := filepath.Glob(pattern); len(matches) > 0 {
				o.Unmasks = append(o.Unmasks, matches...)
			} else {
				o.Unmasks = append(o.Unmasks, pattern)
			}
		}
	default:
		return failure.New("", "security_opt", "%q is not known", opt).WithHint("there are no-new-privileges, " +
			"seccomp=unconfined, seccomp=FILE, label=…, apparmor=PROFILE, mask=PATH[:PATH…], unmask=PATH[:PATH…] and unmask=all.")
	}
	return nil
}

// defaultSeccomp returns the profile that the machine's configuration names, "" for the library's own.
func defaultSeccomp(conf *config.Config) string {
	if profile := conf.Containers.SeccompProfile; profile != "" && profile != parse.SeccompDefaultPath {
		return profile
	}
	for _, profile := range []string{parse.SeccompOverridePath, parse.SeccompDefaultPath} {
		if _, err := os.Stat(profile); err == nil {
			return profile
		}
	}
	return ""
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

// addedCapabilities returns a container's capabilities with what the settings add and drop: an "all" that is dropped
// leaves what is added.
func addedCapabilities(base []string, s *StepSettings) ([]string, error) {
	if len(s.CapAdd)+len(s.CapDrop) == 0 {
		return base, nil
	}
	merged, err := capabilities.MergeCapabilities(base, s.CapAdd, s.CapDrop)
	if err != nil {
		return nil, failure.New("", "capabilities", "%w", err).
			WithHint(`cap_add and cap_drop take names such as "net_admin" or "CAP_NET_ADMIN", or "all".`)
	}
	return merged, nil
}

// hidden are places where nothing of a device would be seen.
var hidden = regexp.MustCompile(`^/(dev|(proc|sys)(/.*)?)?$`)

func checkDevice(device string) error {
	if isCDI(device) {
		return nil
	}
	source, target, _, err := parse.Device(device)
	if err != nil || !filepath.IsAbs(source) {
		return failure.New("", "device", "%q is not HOST[:CONTAINER][:rwm]", device).
			WithHint(`for example "/dev/fuse", or "/dev/sdc:/dev/xvdc:rw".`)
	}
	if hidden.MatchString(filepath.Clean(target)) {
		return failure.New("", "device", "%q: %s in the container is no place for a device", device, target)
	}
	return nil
}

// isCDI tells whether a device is one that Container Device Interface files explain: "vendor.com/class=name".
func isCDI(device string) bool {
	return !strings.HasPrefix(device, "/") && strings.Contains(device, "=")
}
