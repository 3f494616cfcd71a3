package engine

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"
	"go.podman.io/common/pkg/capabilities"
	"go.podman.io/common/pkg/config"

	"github.com/rlbuild/rlbuild/engine/failure"
)

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

// noDevicePlace matches where a device can't be shown: what is mounted there would hide it.
var noDevicePlace = regexp.MustCompile(`^/(dev|(proc|sys)(/.*)?)?$`)

// checkDevice checks "HOST[:CONTAINER][:PERMISSIONS]", or the name of a CDI device.
func checkDevice(device string) error {
	if isCDI(device) {
		return nil
	}
	source, target, _, err := parse.Device(device)
	if err != nil || !filepath.IsAbs(source) {
		return failure.New("", "device", "%q is not HOST[:CONTAINER][:rwm]", device).
			WithHint(`for example "/dev/fuse", or "/dev/sdc:/dev/xvdc:rw".`)
	}
	if noDevicePlace.MatchString(filepath.Clean(target)) {
		return failure.New("", "device", "%q: %s in the container is no place for a device", device, target)
	}
	return nil
}

// isCDI tells whether a device is one that Container Device Interface files explain: "vendor.com/class=name".
func isCDI(device string) bool {
	return !strings.HasPrefix(device, "/") && strings.Contains(device, "=")
}
