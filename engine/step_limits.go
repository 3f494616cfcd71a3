package engine

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/go-units"
	butil "go.podman.io/buildah/pkg/util"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// mergeLimits returns the resource limits of steps, as "name=soft:hard", each once: what is asked for, else what containers.conf
// says, else for open files and processes, as the library has it, all that this process may give.
func mergeLimits(configured, asked []string) []string {
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

// parseSize parses the size of an option, "512m", and returns it in bytes; 0 for "".
func parseSize(option, text string) (int64, error) {
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
	n, err := parseSize("shm_size", text)
	return fmt.Sprint(n), err
}

// parseLimits parses limits as mergeLimits returns them, for the sandbox.
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

// resources are the limits of setrlimit(2) by the names that containers.conf has for them.
var resources = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC,
	"rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME,
	"sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}
