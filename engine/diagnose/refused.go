package diagnose

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/trouble"
)

// refusedCall is something that the kernel refuses a command: what programs print of it, and what has to be so besides.
type refusedCall struct {
	line string // a pattern; (?i) is understood
	// look gets what the pattern's groups matched and all lines that are looked at, and returns nil for something else.
	look func(s *Scene, m, lines []string) *Cause
}

// What programs say of EPERM; and some say "permission denied" of it, which is EACCES by right.
const (
	eperm  = `(?:operation not permitted|EPERM|are you root|must be (?:root|superuser))`
	denied = `(?:permission denied|` + eperm + `)`
)

// refusedCalls are tried in this order.
var refusedCalls = []refusedCall{
	{`\bmknod\b.*` + eperm, func(s *Scene, _, _ []string) *Cause {
		return s.namespaced(trouble.DeviceNode, "making device nodes", "CAP_MKNOD")
	}},
	{`^(?:\S*/)?losetup: (?:(\S+): .*(?:no such file or directory|` + denied + `)|cannot find an unused loop device)`, (*Scene).loop},
	{`^(?:\S*/)?mount: .*(?:setup|set up) loop device(.*)`, func(s *Scene, _, _ []string) *Cause { return s.loop(nil, nil) }},
	{`^(?:\S*/)?u?mount: .*` + denied, (*Scene).mountRefused},
	{`^(?:(?:\S*/)?date: (?:cannot|can't) set date: |(?:\S*/)?hwclock: .*|.*\b(?:clock_settime|settimeofday|stime|adjtimex)\b.*)` + eperm,
		func(s *Scene, _, _ []string) *Cause {
			return s.namespaced(trouble.Clock, "setting the clock", "CAP_SYS_TIME")
		}},
	{`^(?:\S*/)?swapo(?:n|ff): .*` + eperm, func(s *Scene, _, _ []string) *Cause {
		return s.namespaced(trouble.Swap, "swapon", "CAP_SYS_ADMIN")
	}},
	{`^(?:\S*/)?(?:modprobe|insmod|rmmod): .*(?:` + eperm + `|/lib/modules)`, func(s *Scene, _, _ []string) *Cause {
		return s.namespaced(trouble.KernelModule, "loading a kernel module", "CAP_SYS_MODULE")
	}},
	{`^(?:\S*/)?sysctl: .*?['"]?\b([a-z]\w*(?:[./][\w-]+)+)['"]?.*(?:read-only file system|` + denied + `)`, (*Scene).kernelSetting},
	{`/proc/sys/([\w./-]+\w).*(?:read-only file system|` + denied + `)`, (*Scene).kernelSetting},
	{`permission denied|EACCES`, (*Scene).lowPort},
	{`^(?:\S*/)?ping6?: .*` + denied, (*Scene).ping},
	{`^(?:\S*/)?hostname: .*` + eperm + `|\bsethostname\b.*` + eperm, func(s *Scene, _, _ []string) *Cause {
		return s.lacks("setting the host name", "CAP_SYS_ADMIN", "")
	}},
	{`\b(?:RTNETLINK answers|ioctl \S*SIOC\w+|(?:iptables|nft|ifconfig|route|tc)\b.*): .*` + denied, (*Scene).netAdmin},
	{`^(?:\S*/)?chroot: .*` + eperm, func(s *Scene, _, _ []string) *Cause { return s.lacks("chroot(2)", "CAP_SYS_CHROOT", "") }},
	{`\bptrace\b.*` + eperm, func(s *Scene, _, _ []string) *Cause { return s.lacks("tracing", "CAP_SYS_PTRACE", "") }},
	{`\b(?:chown|chgrp|ownership)\b.*` + eperm, func(s *Scene, _, _ []string) *Cause { return s.lacks("changing owners", "CAP_CHOWN", "") }},
}

var refusedPatterns = sync.OnceValue(func() []*regexp.Regexp {
	patterns := make([]*regexp.Regexp, len(refusedCalls))
	for i, c := range refusedCalls {
		patterns[i] = regexp.MustCompile(`(?i)` + c.line)
	}
	return patterns
})

// refused says what a line is about that the kernel refused. Of a user other than root it says nothing that root's
// capabilities would decide.
func (s *Scene) refused(line string, lines []string) *Cause {
	for i, pattern := range refusedPatterns() {
		if m := pattern.FindStringSubmatch(line); m != nil {
			if k := refusedCalls[i].look(s, m, lines); k != nil {
				return k
			}
		}
	}
	return nil
}

// namespaced is the cause of what no capability of a user namespace gives. Root's own steps lack the capability.
func (s *Scene) namespaced(of *trouble.Trouble, what, capability string) *Cause {
	if s.UserNS {
		return &Cause{of, nil}
	}
	return s.lacks(what, capability, "")
}

// lacks is the cause that root of a step wasn't given a capability that would do; nil if it was, and for others, for whom a
// capability does nothing.
func (s *Scene) lacks(what, capability, more string) *Cause {
	if s.User.Inside.UID != 0 || s.has(capability) {
		return nil
	}
	return &Cause{trouble.Capability, trouble.Facts{"what": what, "capability": capability,
		"name": strings.ToLower(strings.TrimPrefix(capability, "CAP_")), "more": more}}
}

// loop looks for a loop device of the host's that the command wanted to use.
func (s *Scene) loop(m, _ []string) *Cause {
	if !s.UserNS || s.Files == nil {
		return nil
	}
	for _, device := range s.Devices {
		if strings.HasPrefix(device, "/dev/loop") {
			return nil
		}
	}
	// "No such file or directory" is also what is said of a file that isn't there.
	if len(m) > 1 && m[1] != "" && !strings.HasPrefix(m[1], "/dev/loop") {
		if file, _, err := s.find("./" + strings.TrimPrefix(m[1], "/")); file == "" && err == nil {
			if _, err := s.stat(m[1]); absent(err) {
				return nil
			}
		}
	}
	return &Cause{trouble.LoopDevice, nil}
}

// nodev are the file systems that a user namespace may mount, as far as the kernel goes.
var nodev = []string{"tmpfs", "ramfs", "proc", "sysfs", "devpts", "mqueue", "overlay", "fuse", "cgroup", "cgroup2", "bind", "--bind", "--rbind"}

// mountRefused looks for what a mount(8) lacks: the capability, or a device that a user namespace may mount.
func (s *Scene) mountRefused(_, _ []string) *Cause {
	if k := s.lacks("mounting", "CAP_SYS_ADMIN", "; or show the step what it needs, without: mount = [bind(…), tmpfs(…), cache(…)]"); k != nil {
		return k
	}
	if !s.UserNS || s.User.Inside.UID != 0 {
		return nil
	}
	device := false
	for _, word := range s.Command.Words {
		for _, kind := range nodev {
			if word == kind || word == "-t"+kind {
				return nil
			}
		}
		device = device || strings.HasPrefix(word, "/dev/") || strings.HasSuffix(word, ".img") || strings.HasSuffix(word, ".iso")
	}
	if !device {
		return nil
	}
	return &Cause{trouble.DeviceMount, nil}
}

// kernelSetting looks whether the line names a setting of the kernel's that there is. It is about steps alone.
func (s *Scene) kernelSetting(m, _ []string) *Cause {
	name := strings.ReplaceAll(m[1], ".", "/")
	if _, err := os.Stat("/proc/sys/" + name); err != nil || s.Place == Machine {
		return nil
	}
	return &Cause{trouble.KernelSetting, trouble.Facts{"setting": strings.ReplaceAll(name, "/", ".")}}
}

// These find that a port was to be listened at, and which. noPort are the times and places that some programs print; of Python's error
// the lines above say what it was about.
var (
	binding  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)(?:^|[^\w-])(?:server_)?bind\b|\blisten\b`) })
	portText = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)(?:^|:|-p|(?:port|listen|bind|addr|address)=)(\d{1,5})(?:$|:?(?:[^\d.:]|$))`)
	})
	noPort  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\d{1,2}:\d\d:\d\d|\.(?:c|go|js|php|py|rb|rs):\d+`) })
	denial  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)permission denied|EACCES`) })
	unnamed = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^PermissionError: \[Errno 13\] Permission denied$`) })
)

// lowPort looks for a port that only the machine's root may listen at, in the line, else in the command.
func (s *Scene) lowPort(_, lines []string) *Cause {
	if !s.HostNetwork || !s.UserNS {
		return nil
	}
	words := setting("net/ipv4/ip_unprivileged_port_start")
	if len(words) != 1 {
		return nil
	}
	start, err := strconv.Atoi(words[0])
	if err != nil {
		return nil
	}
	about := ""
	for _, line := range lines {
		if binding().MatchString(line) && (denial().MatchString(line) || slices.ContainsFunc(lines, unnamed().MatchString)) {
			about = line
			break
		}
	}
	if about == "" || strings.Contains(about, "/") && !strings.Contains(about, ":") { // a socket with a name
		return nil
	}
	for i, text := range append([]string{about}, s.Command.Words...) {
		after := i > 1 && slices.Contains(portFlags, s.Command.Words[i-2])
		if i > 0 && !after && !strings.ContainsAny(text, ":=") && !strings.HasPrefix(text, "-p") {
			continue // a number that is something else
		}
		m := portText().FindStringSubmatch(noPort().ReplaceAllString(text, ""))
		if m == nil {
			continue
		}
		if port, err := strconv.Atoi(m[1]); err == nil && port > 0 && port < start {
			return &Cause{trouble.LowPort, trouble.Facts{"port": fmt.Sprint(port), "start": fmt.Sprint(start)}}
		}
	}
	return nil
}

// portFlags are the options by which commands are told a port, in the word behind.
var portFlags = []string{"-p", "-P", "-l", "-b", "--port", "--listen", "--bind", "http.server"}

// ping looks for what a ping lacks: the capability, or in the host's network a group that may open its sockets.
func (s *Scene) ping(_, _ []string) *Cause {
	if !s.HostNetwork {
		return s.lacks("ping", "CAP_NET_RAW", "")
	}
	if !s.UserNS || s.User.Inside.GID != 0 {
		return nil
	}
	// Which groups may, the kernel tells in numbers of another user namespace. This process is in the group of the step's root.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err == nil {
		unix.Close(fd)
	}
	if err != unix.EACCES {
		return nil
	}
	return &Cause{trouble.Ping, nil}
}

// netAdmin is the cause that root of a step may not change the network.
func (s *Scene) netAdmin(_, _ []string) *Cause {
	more := ""
	if s.HostNetwork && s.UserNS {
		more = `, and a network of the step's own (network = "none" or "private"): it doesn't count in the host's`
	}
	return s.lacks("changing the network", "CAP_NET_ADMIN", more)
}
