package engine

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	butil "go.podman.io/buildah/pkg/util"
	"go.podman.io/common/pkg/config"

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
	o.Ulimit = mergeLimits(conf.Containers.DefaultUlimits.Get(), s.Ulimit)
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
	if o.Memory, err = parseSize("memory", s.Memory); err != nil {
		return nil, err
	}
	if s.MemorySwap == "-1" {
		o.MemorySwap = -1
	} else if o.MemorySwap, err = parseSize("memory_swap", s.MemorySwap); err != nil {
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
