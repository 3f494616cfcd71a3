package main

import (
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/script"
)

// limitFlags are what a run may take.
type limitFlags struct {
	steps   uint64
	memory  string
	timeout time.Duration
}

// leastMemory is what rlbuild's own work takes at times; a script can't do with less.
const leastMemory = 64 << 20

func (l *limitFlags) register(p *pflag.FlagSet) {
	p.Uint64Var(&l.steps, "max-steps", 0, "stop a script after so many `steps` of its own code; 0 for no limit")
	p.StringVar(&l.memory, "max-memory", "", "`size` of what the script and rlbuild may keep in memory, as 500m; half of what this machine or cgroup has, 0 for no limit")
	p.DurationVar(&l.timeout, "timeout", 0, "stop the run after a `time`, as 30m, and clean up; 0 for no limit")
}

// check returns what a script may take.
func (l *limitFlags) check() (script.Limits, error) {
	if l.timeout < 0 {
		return script.Limits{}, failure.New("--timeout", l.timeout.String(), "is less than nothing").WithKind(failure.Usage)
	}
	limits := script.Limits{Steps: l.steps}
	if l.memory == "" {
		limits.Memory = max(availableMemory()/2, leastMemory)
		return limits, nil
	}
	bytes, err := units.RAMInBytes(l.memory)
	if err != nil || bytes < 0 {
		return limits, failure.New("--max-memory", fmt.Sprintf("%q", l.memory), "is no size").WithKind(failure.Usage).
			WithHint("write it as 500m or 2g; 0 is no limit")
	}
	if bytes > 0 && bytes < leastMemory {
		return limits, failure.New("--max-memory", l.memory, "is less than the %d MiB that rlbuild needs itself", leastMemory>>20).
			WithKind(failure.Usage)
	}
	limits.Memory = uint64(bytes)
	return limits, nil
}

// errTimeout is why a run ends whose time is over.
func (l *limitFlags) errTimeout() error {
	return failure.New("", "", "the run took longer than %s, which is its limit (--timeout)", l.timeout)
}

// availableMemory returns how much memory this process can have at most, in bytes: the machine's, or the least that one of
// its cgroups allows.
func availableMemory() uint64 {
	least := uint64(math.MaxUint64)
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		least = uint64(info.Totalram) * uint64(info.Unit)
	}
	own, _ := os.ReadFile("/proc/self/cgroup") // nothing is as good as unreadable
	return min(least, cgroupMemory("/sys/fs/cgroup", string(own)))
}

// cgroupMemory returns the least that one of this process's cgroups, below root, allows: own is cgroups(7)' /proc/self/cgroup,
// with a line "0::/path" of version 2 and "5:memory:/path" of version 1, or both.
func cgroupMemory(root, own string) uint64 {
	least := uint64(math.MaxUint64)
	for line := range strings.Lines(own) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		top, file := root, "memory.max"
		if slices.Contains(strings.Split(fields[1], ","), "memory") {
			top, file = path.Join(root, "memory"), "memory.limit_in_bytes"
		} else if fields[1] != "" {
			continue
		}
		for group := path.Join("/", fields[2]); ; group = path.Dir(group) {
			text, err := os.ReadFile(path.Join(top, group, file))
			if limit, bad := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil {
				least = min(least, limit)
			}
			if group == "/" {
				break
			}
		}
	}
	return least
}
