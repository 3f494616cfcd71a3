package rootless

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/checkup"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// kernel tells about its version, and the limits that builds are known to run into.
func (j *journey) kernel() []checkup.Finding {
	return []checkup.Finding{
		j.version(),
		// A pull holds files of every layer open, and so does what compilers and package managers do in a step.
		openFiles(),
		resource("processes", unix.RLIMIT_NPROC, 256, `steps fail with "resource temporarily unavailable"`, "ulimit -u", "nproc"),
		// A layer is written as one file.
		resource("file size", unix.RLIMIT_FSIZE, 1<<40, `larger files and layers fail with "file too large"`, "ulimit -f", "fsize"),
	}
}

// version tells whether the kernel can mount overlay for ordinary users, which the store's trial then shows.
func (j *journey) version() checkup.Finding {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return checkup.Finding{Area: areaKernel, Name: "version", Verdict: checkup.Unknown, Found: err.Error()}
	}
	release := unix.ByteSliceToString(name.Release[:])
	f := found(areaKernel, "version", "Linux %s", release)
	if j.me.uid != 0 && !atLeast(release, 5, 13) {
		f.Verdict = checkup.Limited
		f.Found += ": before 5.13 the kernel mounts no overlay for ordinary users, unless the distribution has added it"
		f.Cure = "Install fuse-overlayfs, or a newer kernel."
	}
	return f
}

// atLeast compares a kernel's release, "6.1.0-13-amd64", with a version.
func atLeast(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n < 2 {
		return true // an unknown numbering: the trial decides
	}
	return a > major || a == major && b >= minor
}

// resource tells about a limit of this process, see getrlimit(2). Less than enough is worth a word.
func resource(name string, which int, enough uint64, effect, shell, limits string) checkup.Finding {
	var r unix.Rlimit
	if err := unix.Getrlimit(which, &r); err != nil {
		return checkup.Finding{Area: areaKernel, Name: name, Verdict: checkup.Unknown, Found: err.Error()}
	}
	if r.Max == unix.RLIM_INFINITY && r.Cur == unix.RLIM_INFINITY {
		return found(areaKernel, name, "no limit")
	}
	value := r.Cur
	if which == unix.RLIMIT_NOFILE {
		value = r.Max // Go took all it may have
	}
	f := found(areaKernel, name, "%d at most (%s)", value, shell)
	if value < enough {
		f.Verdict, f.Found = checkup.Limited, f.Found+": "+effect
		f.Cure = fmt.Sprintf("Raise it: %s, or %s in /etc/security/limits.conf or of the service (Limit…=).", shell, limits)
	}
	return f
}

// openFiles tells about the limit of this process, for which Go takes all that it may have, and about the one that commands
// and steps begin with where it is another: Go gives them what it found.
func openFiles() checkup.Finding {
	f := resource("open files", unix.RLIMIT_NOFILE, 1024, `steps and pulls fail with "too many open files"`, "ulimit -n", "nofile")
	out, err := exec.Command("sh", "-c", "ulimit -Sn").Output()
	if soft := strings.TrimSpace(string(out)); err == nil && soft != "unlimited" && !strings.HasPrefix(f.Found, soft+" ") {
		f.Found += "; commands begin with " + soft + " (ulimit -Sn)"
	}
	return f
}

// environment tells about the variables that decide where a run works.
func (j *journey) environment(ns *Namespace, err error) []checkup.Finding {
	return []checkup.Finding{j.runtimeDir(ns, err), home()}
}

func (j *journey) runtimeDir(ns *Namespace, err error) checkup.Finding {
	const name = "XDG_RUNTIME_DIR"
	stated, used := j.seen.runtimeDir, os.Getenv(name)
	fault := ""
	if stated != "" {
		fault = dirFault(stated)
	}
	if fault == othersDir && j.seen.runtimeOwner >= 0 {
		fault = "belongs to " + userName(j.seen.runtimeOwner)
	}
	if used == "" {
		used = "it is ignored"
	} else {
		used += " is used instead"
	}
	switch {
	case opOf(err) == findingRuntimeDir:
		return refused(areaEnvironment, name, err)
	case fault != "":
		return amiss(areaEnvironment, name, checkup.Limited, trouble.RuntimeDir, trouble.Facts{"path": stated, "detail": fault, "used": used})
	case stated == "" && ns == nil:
		return found(areaEnvironment, name, "not set")
	case stated == "" && os.Getenv(name) == "":
		return found(areaEnvironment, name, "not set; root's run-time files are in /run")
	case stated == "":
		return found(areaEnvironment, name, "not set; %s", used)
	}
	if info, err := os.Stat(stated); err == nil && info.Mode().Perm()&0o022 != 0 {
		return checkup.Finding{Area: areaEnvironment, Name: name, Verdict: checkup.Limited,
			Found: fmt.Sprintf("%s, mode %04o: others may change what is in it", stated, info.Mode().Perm()),
			Cure:  fmt.Sprintf("Run \"chmod 700 %s\".", stated)}
	}
	return found(areaEnvironment, name, "%s", stated)
}

// home tells about HOME, below which the store is.
func home() checkup.Finding {
	const name, cure = "HOME", "Set HOME to a directory of the user's own, or name places for the store: --root and --runroot."
	dir := os.Getenv("HOME")
	if dir == "" {
		return checkup.Finding{Area: areaEnvironment, Name: name, Verdict: checkup.Limited, Found: "not set, and the user database knows none", Cure: cure}
	}
	switch fault := dirFault(dir); fault {
	case "":
		return found(areaEnvironment, name, "%s", dir)
	default:
		return checkup.Finding{Area: areaEnvironment, Name: name, Verdict: checkup.Limited, Found: strconv.Quote(dir) + " " + fault, Cure: cure}
	}
}
