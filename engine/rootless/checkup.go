package rootless

// #include "nest.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rlbuild/rlbuild/engine/checkup"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// The areas of what Checkup finds.
const (
	areaNamespaces  = "namespaces"
	areaIDs         = "IDs"
	areaKernel      = "kernel"
	areaEnvironment = "environment"
)

// Checkup enters as Enter does, and returns what it found on the way, also when the way ends early: then the error is
// Enter's.
func Checkup(o Options) (*Namespace, []checkup.Finding, error) {
	j := &journey{survey: true}
	ns, err := enter(o, j)
	findings := j.namespaces(ns, err)
	findings = append(findings, j.ids(ns)...)
	findings = append(findings, j.kernel()...)
	return ns, append(findings, j.environment(ns, err)...), err
}

// sights are the facts that are hidden or look different once the process is inside.
type sights struct {
	limits       map[string]string // of sysctl: "user.max_user_namespaces"
	helperOwners map[string]int    // user IDs by path
	runtimeDir   string            // XDG_RUNTIME_DIR
	runtimeOwner int               // its user ID, -1 when it can't be told
	label        string            // of AppArmor
	chroot       bool
}

// kinds are those of namespaces that a run and its steps make, as the kernel's limits name them.
var kinds = []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"}

// lookAround collects them.
func lookAround(left departure, me caller) sights {
	s := sights{limits: map[string]string{}, helperOwners: map[string]int{}, runtimeOwner: -1, chroot: !rootIsMount()}
	for _, kind := range kinds {
		name := "user.max_" + kind + "_namespaces"
		s.limits[name] = strings.TrimSpace(left.outside.show("/proc/sys/" + strings.ReplaceAll(name, ".", "/")))
	}
	helpers, _, _ := findHelpers()
	for _, h := range helpers {
		if uid, _, ok := left.outside.owners(h.path); ok && h.path != "" {
			s.helperOwners[h.path] = uid
		}
	}
	if s.runtimeDir = os.Getenv("XDG_RUNTIME_DIR"); s.runtimeDir != "" {
		if uid, _, ok := left.outside.owners(s.runtimeDir); ok {
			s.runtimeOwner = uid
		}
	}
	label, _ := os.ReadFile("/proc/self/attr/current") // without a security module there is none
	s.label = strings.Trim(string(label), "\n\x00")
	return s
}

// found is a finding that nothing is wrong with.
func found(area, name, format string, args ...any) checkup.Finding {
	return checkup.Finding{Area: area, Name: name, Verdict: checkup.OK, Found: fmt.Sprintf(format, args...)}
}

// amiss is a finding of a known trouble.
func amiss(area, name string, verdict checkup.Verdict, t *trouble.Trouble, facts trouble.Facts) checkup.Finding {
	return checkup.Finding{Area: area, Name: name, Verdict: verdict, Found: t.Reason(nil, facts).Error(), Cure: t.Hint(facts)}
}

// refused is a finding of what ended the way in.
func refused(area, name string, err error) checkup.Finding {
	why := err
	if known := (*failure.Error)(nil); errors.As(err, &known) && known.Err != nil {
		why = known.Err
	}
	return checkup.Finding{Area: area, Name: name, Verdict: checkup.Failed, Found: failure.Redact(why.Error()), Cure: failure.HintOf(err)}
}

// namespaces tells whether and why there are any.
func (j *journey) namespaces(ns *Namespace, err error) []checkup.Finding {
	const allowed = "user namespaces"
	var all []checkup.Finding
	switch {
	case !j.mapped && err != nil:
		all = append(all, refused(areaNamespaces, allowed, err))
	case !j.plan.user:
		all = append(all, found(areaNamespaces, allowed, "none is needed: this is root, with CAP_SYS_ADMIN"))
	default:
		all = append(all, found(areaNamespaces, allowed, "allowed, up to %s (user.max_user_namespaces)", j.seen.limits["user.max_user_namespaces"]))
	}
	switch {
	case ns != nil:
		all = append(all, found(areaNamespaces, "mounts", "kept inside"))
	case j.mapped && opOf(err) != findingRuntimeDir:
		all = append(all, refused(areaNamespaces, "mounts", err))
	}
	all = append(all, j.chroot(), j.filter(), j.appArmor(), j.noNewPrivs())
	if j.mapped {
		all = append(all, j.nesting())
	}
	return append(all, j.limits())
}

// opOf returns what was tried when err came about.
func opOf(err error) string {
	if e := (*failure.Error)(nil); errors.As(err, &e) {
		return e.Op
	}
	return ""
}

func (j *journey) chroot() checkup.Finding {
	switch {
	case !j.seen.chroot:
		return found(areaNamespaces, "chroot", "this process is in none")
	case j.mapped:
		return found(areaNamespaces, "chroot", "the root directory is no mount point, and namespaces can be made")
	}
	return amiss(areaNamespaces, "chroot", checkup.Failed, trouble.InChroot, nil)
}

func (j *journey) filter() checkup.Finding {
	const name = "seccomp"
	switch {
	case !underSeccomp():
		return found(areaNamespaces, name, "no system call filter")
	case unshareFiltered():
		return amiss(areaNamespaces, name, checkup.Failed, trouble.Filtered, nil)
	case j.mapped:
		return found(areaNamespaces, name, "a system call filter is in force, and allows new namespaces")
	}
	return checkup.Finding{Area: areaNamespaces, Name: name, Verdict: checkup.Unknown, Found: "a system call filter is in force"}
}

func (j *journey) appArmor() checkup.Finding {
	const restriction, name = "kernel.apparmor_restrict_unprivileged_userns", "AppArmor"
	switch value := sysctl(restriction); {
	case value != "1":
		return found(areaNamespaces, name, "doesn't restrict user namespaces")
	case j.me.uid == 0:
		return found(areaNamespaces, name, "restricts user namespaces of ordinary users, not root's")
	case j.mapped:
		return found(areaNamespaces, name, "restricts user namespaces (%s is 1) and lets this program (%s)", restriction, j.seen.label)
	default:
		return checkup.Finding{Area: areaNamespaces, Name: name, Verdict: checkup.Unknown,
			Found: fmt.Sprintf("restricts user namespaces (%s is 1); this program's profile: %s", restriction, j.seen.label)}
	}
}

func (j *journey) noNewPrivs() checkup.Finding {
	const name = "no_new_privs"
	switch {
	case !noNewPrivs():
		return found(areaNamespaces, name, "not set")
	case j.me.uid == 0:
		return found(areaNamespaces, name, "set; root needs no newuidmap")
	}
	return amiss(areaNamespaces, name, checkup.Limited, trouble.NoNewPrivs, nil)
}

// nesting counts how many more user namespaces fit inside: containers with one of their own take one.
func (j *journey) nesting() checkup.Finding {
	const name, most = "nesting", 32
	levels := int(C.rlbuild_levels(most))
	where := ""
	if j.me.nested {
		where = "started inside another user namespace; "
	}
	switch {
	case levels < 0:
		return checkup.Finding{Area: areaNamespaces, Name: name, Verdict: checkup.Unknown, Found: where + "no process to try it with"}
	case levels == 0:
		return checkup.Finding{Area: areaNamespaces, Name: name, Verdict: checkup.Limited,
			Found: where + "no other user namespace fits inside, so containers can't have one of their own",
			Cure:  "Start rlbuild less deep: the kernel allows 32 inside each other."}
	}
	return found(areaNamespaces, name, "%sroom for %s", where, depth(levels))
}

func depth(levels int) string {
	if levels == 1 {
		return "1 more user namespace inside this one"
	}
	return fmt.Sprintf("%d more user namespaces inside each other", levels)
}

// limits shows how many namespaces there may be. Those of the user and mount kind have been tried.
func (j *journey) limits() checkup.Finding {
	const name = "limits"
	var values, none []string
	for _, kind := range kinds {
		value := j.seen.limits["user.max_"+kind+"_namespaces"]
		if value == "" {
			continue // this kernel has no such kind
		}
		values = append(values, kind+" "+value)
		if value == "0" && (kind != "user" || j.me.uid != 0) { // root's user namespace is the one it is in
			none = append(none, kind)
		}
	}
	if len(values) == 0 {
		return checkup.Finding{Area: areaNamespaces, Name: name, Verdict: checkup.Unknown, Found: "/proc/sys/user can't be read"}
	}
	f := found(areaNamespaces, name, "%s (user.max_…_namespaces)", strings.Join(values, ", "))
	if len(none) == 0 {
		return f
	}
	// Whether anything is left that executes and connects steps is for the trials to say.
	f.Verdict = checkup.Limited
	var settings []string
	for _, kind := range none {
		settings = append(settings, "user.max_"+kind+"_namespaces=15000")
	}
	f.Cure = fmt.Sprintf("Run \"sysctl -w %s\" as root, and write it to a file in /etc/sysctl.d to keep it.", strings.Join(settings, " "))
	return f
}
