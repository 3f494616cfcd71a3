package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/selinux/go-selinux"
	"go.podman.io/buildah/chroot"
	"go.podman.io/common/libnetwork/pasta"
	"go.podman.io/common/pkg/config"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/checkup"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/filesystem"
)

// The areas of what Checkup finds.
const (
	stepArea     = "steps"
	networkArea  = "network"
	registryArea = "registries"
)

// otherRuntimes are OCI runtimes that rlbuild doesn't take by itself.
var otherRuntimes = []string{"youki", "runsc", "kata-runtime"}

// chrootTime bounds the trial of a chroot, which starts this program several times over.
const chrootTime = 2 * probeTime

// Checkup says how steps can be executed and connected here, each way tried, and how it is with the files that say what
// registries are like. Nothing is fetched.
func (b *Builder) Checkup() []checkup.Finding {
	chroot := b.chrootFinding()
	all := []checkup.Finding{b.isolationFinding(chroot), b.sandboxFinding()}
	all = append(all, b.runtimeFindings()...)
	all = append(all, chroot, limitsFinding("/"), confinementFinding())
	all = append(all, b.networkFindings()...)
	return append(all, b.fileFindings()...)
}

// isolationFinding is about how steps are executed unless a script says otherwise, and what came of the trial of a chroot,
// which a run doesn't make.
func (b *Builder) isolationFinding(chroot checkup.Finding) checkup.Finding {
	f := checkup.Finding{Area: stepArea, Name: "isolation", Verdict: checkup.OK, Need: checkup.Steps}
	chosen, err := b.Isolation()
	if err != nil {
		f.Verdict, f.Found, f.Cure = checkup.Failed, err.Error(), failure.HintOf(err)
		return f
	}
	f.Found = chosen.Kind
	if chosen.Runtime != "" {
		f.Found += " with " + chosen.Runtime
	}
	if len(chosen.Passed) > 0 {
		f.Found += ", since " + strings.Join(chosen.Passed, "; ")
	}
	if chosen.Kind == "chroot" && b.options.Isolation != "chroot" {
		f.Verdict = checkup.Limited
		f.Found += "; a chroot has the host's network and processes"
		f.Cure = "Install a current crun or runc for more isolation."
	}
	if chosen.Kind == "chroot" && chroot.Verdict == checkup.Limited {
		f.Verdict, f.Found = checkup.Failed, f.Found+"; "+chroot.Found
		f.Cure = "Nothing executes steps here: mend what one of the ways names, or install a current crun or runc."
	}
	return f
}

// sandboxFinding is about rlbuild's own executor.
func (b *Builder) sandboxFinding() checkup.Finding {
	f := checkup.Finding{Area: stepArea, Name: "sandbox", Verdict: checkup.OK, Found: "a step in it worked"}
	if _, err := b.way(sandboxKind, ""); err != nil {
		f.Verdict, f.Found = checkup.Limited, errors.Unwrap(err).Error()
		f.Cure = "Steps run with an OCI runtime or in a chroot instead."
	} else if !unshare.IsRootless() {
		f.Found += "; for root an OCI runtime comes first"
	}
	return f
}

// runtimeFindings are about the OCI runtimes that are installed, and whether one of them does.
func (b *Builder) runtimeFindings() (all []checkup.Finding) {
	one := checkup.Finding{Area: stepArea, Name: "OCI runtime", Verdict: checkup.Failed, Need: checkup.Runtime,
		Found: "none is installed that is taken by itself (" + strings.Join(runtimes, ", ") + ")", Cure: "Install crun or runc, of a version that isn't older than buildah's: steps with limits, labels or a runtime of their own need one."}
	names := slices.Concat(runtimes, otherRuntimes)
	if asked := b.options.Runtime; asked != "" && !slices.Contains(names, asked) {
		names = append(names, asked)
	}
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		f := checkup.Finding{Area: stepArea, Name: "OCI runtime " + name, Verdict: checkup.OK, Found: path + version(path) + ": a container worked"}
		args := []string{"--root", filepath.Join(b.options.TempDir, "runtime"), "--log", filepath.Join(b.options.TempDir, "runtime.log")}
		err = b.tryRuntime(path, args)
		known := slices.Contains(runtimes, name) || name == b.options.Runtime
		switch {
		case err != nil:
			f.Verdict, f.Found = checkup.Limited, fmt.Sprintf("%s%s: a container failed: %v", path, version(path), err)
			f.Cure = "Install a newer one; rlbuild passes over one that doesn't work."
			if one.Verdict == checkup.Failed && known {
				one.Found = "none works here"
			}
		case known && one.Verdict != checkup.OK:
			one.Verdict, one.Found, one.Cure = checkup.OK, path, ""
		case !known:
			f.Found += "; it is used when asked for: --runtime " + name
		}
		all = append(all, f)
	}
	return append([]checkup.Finding{one}, all...)
}

// version returns " (VERSION)", what a program says of itself first, or "".
func version(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	printed, err := cmd.Output()
	line, _, _ := bytes.Cut(bytes.TrimSpace(printed), []byte("\n"))
	if err != nil || len(line) == 0 {
		return ""
	}
	return " (" + string(line[:min(len(line), 60)]) + ")"
}

// chrootFinding is about the library's way with neither.
func (b *Builder) chrootFinding() checkup.Finding {
	f := checkup.Finding{Area: stepArea, Name: "chroot", Verdict: checkup.OK, Found: "a step in one worked"}
	done := make(chan error, 1)
	go func() { done <- b.tryChroot() }()
	select {
	case err := <-done:
		if err != nil {
			f.Verdict, f.Found = checkup.Limited, "a step in one failed: "+firstLine(err).Error()
		}
	case <-time.After(chrootTime):
		f.Verdict, f.Found = checkup.Unknown, fmt.Sprintf("a step in one didn't end within %v", chrootTime)
	}
	return f
}

// tryChroot runs true(1) the way the library runs steps without a runtime.
func (b *Builder) tryChroot() error {
	bundle, err := os.MkdirTemp(b.options.TempDir, "probe-")
	if err != nil {
		return fmt.Errorf("making a directory to try it in: %w", err)
	}
	defer os.RemoveAll(bundle)
	spec, err := probeSpec(bundle)
	if err != nil {
		return err
	}
	// The filter of the specification's examples keeps the library's helper from making threads, now and then one too few to
	// end. Steps get another one.
	spec.Linux.Seccomp = nil
	var printed bytes.Buffer
	if err := chroot.RunUsingChroot(spec, bundle, "/", strings.NewReader(""), &printed, &printed, false); err != nil {
		return fmt.Errorf("%w%s", err, lastLine(printed.Bytes()))
	}
	return nil
}

// limitsFinding is about cgroups, below the root directory: only an OCI runtime limits steps, and only with a cgroup that it
// may write to.
func limitsFinding(root string) checkup.Finding {
	f := checkup.Finding{Area: stepArea, Name: "cgroup limits", Verdict: checkup.Failed, Need: checkup.Limits}
	const lacks = "; memory, cpu_shares, cpu_quota and their like can't be had"
	top := filepath.Join(root, "sys/fs/cgroup")
	on, err := filesystem.Of(top)
	if err != nil {
		f.Found = fmt.Sprintf("no cgroups (%s: %v)%s", top, err, lacks)
		return f
	}
	if on.Type != unix.CGROUP2_SUPER_MAGIC {
		f.Found = "version 1"
		if _, err := os.Stat(filepath.Join(top, "unified/cgroup.procs")); err == nil {
			f.Found = "hybrid, with the controllers in version 1"
		}
		if !unshare.IsRootless() {
			f.Verdict = checkup.OK
			return f
		}
		f.Found += ", of which ordinary users have no share" + lacks
		f.Cure = "Start the machine with version 2 (systemd.unified_cgroup_hierarchy=1)."
		return f
	}
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		f.Verdict, f.Found = checkup.Unknown, err.Error()
		return f
	}
	own := filepath.Join(top, ownCgroup(string(text)))
	content, _ := os.ReadFile(filepath.Join(own, "cgroup.controllers")) // none is as good as unreadable
	controllers := strings.Fields(string(content))
	f.Found = fmt.Sprintf("version 2, %s, controllers: %s", own, firstOf(strings.Join(controllers, " "), "none"))
	const delegate = "Run rlbuild in a session of systemd's with them delegated: systemd-run --user --scope -p Delegate=yes rlbuild …"
	switch {
	case unix.Access(own, unix.W_OK) != nil || unix.Access(filepath.Join(own, "cgroup.procs"), unix.W_OK) != nil:
		f.Found, f.Cure = f.Found+", not writable for you"+lacks, delegate
	case !slices.Contains(controllers, "memory") || !slices.Contains(controllers, "cpu"):
		f.Found, f.Cure = f.Found+lacks, delegate
	default:
		f.Verdict = checkup.OK
		f.Found += "; steps with limits take an OCI runtime"
	}
	return f
}

// ownCgroup returns the path of this process's cgroup of version 2: "0::/user.slice/…".
func ownCgroup(text string) string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	return "/"
}

// confinementFinding is about what the machine wraps around every process, steps among them.
func confinementFinding() checkup.Finding {
	f := checkup.Finding{Area: stepArea, Name: "confinement", Verdict: checkup.OK}
	facts := []string{"system calls are filtered"}
	if err := unix.Prctl(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil {
		facts[0] = "the kernel has no system call filters"
		f.Verdict, f.Cure = checkup.Limited, "Use a kernel with CONFIG_SECCOMP_FILTER; the sandbox needs it unless containers.conf says seccomp_profile = \"unconfined\"."
	}
	if text, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err == nil && strings.TrimSpace(string(text)) == "Y" {
		facts = append(facts, "AppArmor is on: steps get a profile of their own from an OCI runtime only")
	} else {
		facts = append(facts, "no AppArmor")
	}
	if selinux.GetEnabled() {
		facts = append(facts, "SELinux is on: an OCI runtime gives steps its labels, the sandbox isn't used")
	} else {
		facts = append(facts, "no SELinux")
	}
	f.Found = strings.Join(facts, "; ")
	return f
}

// networkFindings are about the network of steps, and about the programs that connect it.
func (b *Builder) networkFindings() []checkup.Finding {
	private := checkup.Finding{Area: networkArea, Name: "private network", Verdict: checkup.OK, Need: checkup.PrivateNetwork,
		Found: "a network namespace was connected"}
	chosen, err := b.Isolation()
	switch {
	case err != nil:
		private.Verdict, private.Found = checkup.Unknown, "there is no way to execute steps"
	case chosen.Network != "private" && chosen.Shared == "":
		private.Found = "a network namespace was connected; containers.conf asks for the host's"
		if chosen.Kind == "chroot" {
			private.Verdict, private.Found = checkup.Failed, "a chroot has no network of its own"
		} else if err := b.tryNetwork(); err != nil {
			private.Verdict, private.Found = checkup.Failed, "connecting one failed: "+err.Error()
			private.Cure = "Install a current passt (pasta), or netavark for root."
		}
	case chosen.Network != "private":
		private.Verdict, private.Found = checkup.Failed, "steps share the host's: "+chosen.Shared
		private.Cure = "Install a current passt (pasta)."
		if !unshare.IsRootless() {
			private.Cure = "Install netavark, and an OCI runtime that works."
		}
	}
	return append([]checkup.Finding{private}, helperFindings(chosen)...)
}

func helperFindings(chosen *Isolation) (all []checkup.Finding) {
	conf, err := config.Default()
	if err != nil {
		return []checkup.Finding{{Area: networkArea, Name: "containers.conf", Verdict: checkup.Failed, Found: err.Error(),
			Cure: "Correct the file, or name another one with CONTAINERS_CONF."}}
	}
	rootless := unshare.IsRootless()
	for _, helper := range []struct {
		name, purpose string
		used          bool
	}{
		{pasta.BinaryName, "connects ordinary users' steps", rootless},
		{"slirp4netns", "isn't used: this version of the library connects with pasta", false},
		{"netavark", "connects root's steps", !rootless},
	} {
		f := checkup.Finding{Area: networkArea, Name: helper.name, Verdict: checkup.OK}
		path, err := conf.FindHelperBinary(helper.name, true)
		switch {
		case err != nil && helper.used:
			f.Verdict, f.Found, f.Cure = checkup.Limited, "isn't installed; it "+helper.purpose, "Install it, or let steps share the host's network."
		case err != nil:
			f.Found = "isn't installed, nor needed"
		case helper.used && chosen != nil && chosen.Network != "private" && chosen.Shared != "":
			f.Verdict, f.Found = checkup.Limited, path+version(path)+": failed: "+chosen.Shared
			f.Cure = "Install a newer one, or let steps share the host's network."
		case helper.used:
			f.Found = path + version(path) + ": " + helper.purpose
		default:
			f.Found = path + ": " + helper.purpose
		}
		all = append(all, f)
	}
	return all
}
