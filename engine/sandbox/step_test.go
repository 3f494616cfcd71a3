package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// want runs a line of shell in a new root and compares what it prints.
func want(t *testing.T, line, printed string) {
	t.Helper()
	if code, text := output(t, newStep(t, newRoot(t), line)); code != 0 || text != printed {
		t.Errorf("%s: status %d, printed %q, want %q", line, code, text, printed)
	}
}

func TestExitStatus(t *testing.T) {
	if code, _ := output(t, newStep(t, newRoot(t), "exit 3")); code != 3 {
		t.Errorf("status %d, want 3", code)
	}
	s := newStep(t, newRoot(t), "ulimit -t 1; while :; do :; done")
	state, _, err := try(t, s)
	must(t, err)
	if status := state.Sys().(syscall.WaitStatus); !status.Signaled() {
		t.Errorf("ended with %v, want a signal", state)
	}
}

// The state that /proc/self/status shows is what buildah's rootless steps have with the same settings.
func TestCredentials(t *testing.T) {
	show := "grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|SigBlk|SigIgn):' /proc/self/status | tr -s '\\t ' '  ' | sed 's/ *$//'"
	caps := "CapInh: 0000000000000000\nCapPrm: %[1]s\nCapEff: %[1]s\nCapBnd: 00000000800405fb\nCapAmb: 0000000000000000\n"
	tail := "NoNewPrivs: 0\nSeccomp: 2\n"
	signal.Ignore(syscall.SIGUSR1) // must not reach the step
	defer signal.Reset(syscall.SIGUSR1)
	for _, c := range []struct {
		user      sandbox.User
		ids, caps string
	}{
		{sandbox.User{}, "Uid: 0 0 0 0\nGid: 0 0 0 0\nGroups:\n", "00000000800405fb"},
		{sandbox.User{UID: 1000, GID: 33, Groups: []uint32{33, 44}},
			"Uid: 1000 1000 1000 1000\nGid: 33 33 33 33\nGroups: 33 44\n", "0000000000000000"},
	} {
		s := newStep(t, newRoot(t), show)
		s.User = c.user
		_, text := output(t, s)
		signals := "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\n"
		if wanted := c.ids + signals + fmt.Sprintf(caps, c.caps) + tail; text != wanted {
			t.Errorf("user %d:\n%swant\n%s", c.user.UID, text, wanted)
		}
	}
}

// A setuid program gives a user what the step's root has, and no more.
func TestSetuidProgram(t *testing.T) {
	root := newRoot(t)
	data, err := os.ReadFile(root + "/bin/busybox")
	must(t, err)
	must(t, os.Mkdir(root+"/suid", 0o755))
	must(t, os.WriteFile(root+"/suid/cat", data, 0o755))
	must(t, os.Chmod(root+"/suid/cat", 0o755|os.ModeSetuid))
	s := newStep(t, root, "/suid/cat /proc/self/status | grep -E '^Cap(Eff|Prm)'")
	s.User = sandbox.User{UID: 1000, GID: 1000}
	_, text := output(t, s)
	for line := range strings.Lines(text) {
		if value := strings.Fields(line)[1]; value != "00000000800405fb" && value != "0000000000000000" {
			t.Errorf("a setuid program has %s", line)
		}
	}
}

// A nested user namespace, which the profile allows, gives no power over the step's mounts.
func TestNestedNamespace(t *testing.T) {
	for _, attempt := range []string{
		"umount /proc/keys", "umount -l /proc/sys", "mount -o remount,bind,rw /proc/sys", "mount -o remount,bind,rw /sys",
		"mount -t proc proc /tmp", "umount -l /proc", "umount -l /", "mount -t sysfs sysfs /tmp", "echo h > /proc/sysrq-trigger",
	} {
		s := newStep(t, newRoot(t), "unshare -Urmpf sh -c 'mount -t tmpfs tmpfs /etc && "+attempt+"' && echo got out")
		if code, text := output(t, s); code == 0 || strings.Contains(text, "got out") {
			t.Errorf("%s: status %d, %s", attempt, code, text)
		}
	}
	want(t, "unshare -Urmpf sh -c 'mount -t tmpfs tmpfs /tmp && echo it is a namespace'", "it is a namespace\n")
}

func TestNamespaces(t *testing.T) {
	root := newRoot(t)
	_, text := output(t, newStep(t, root, "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done"))
	inside := strings.Fields(text)
	for i, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		outside, err := os.Readlink("/proc/self/ns/" + name)
		must(t, err)
		if shared := name == "user" || name == "net"; (inside[i] == outside) != shared {
			t.Errorf("%s: inside %s, outside %s", name, inside[i], outside)
		}
	}
}

func TestHostname(t *testing.T) {
	before, err := os.Hostname()
	must(t, err)
	want(t, "hostname; hostname changed 2>/dev/null; hostname", "step\nstep\n")
	if after, _ := os.Hostname(); after != before {
		t.Errorf("the host's name became %q", after)
	}
}

// Only the three streams are open, whatever the process has open without O_CLOEXEC.
func TestDescriptors(t *testing.T) {
	fd, err := unix.Open(secret(t), unix.O_RDONLY, 0)
	must(t, err)
	defer unix.Close(fd)
	want(t, "for n in $(seq 0 100); do test ! -e /proc/$$/fd/$n || echo $n; done", "0\n1\n2\n")
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET", "of the host")
	s := newStep(t, newRoot(t), "")
	s.Args = []string{"/bin/env"}
	if _, text := output(t, s); text != "PATH=/bin\n" {
		t.Errorf("the environment is %q", text)
	}
}

// There is one tree: the root's. No process outside can be seen or reached through /proc.
func TestOldRootIsGone(t *testing.T) {
	name := secret(t)
	want(t, "cat "+name+" /proc/1/root"+name+" /proc/self/root"+name+" 2>/dev/null; echo /proc/[0-9]*", "/proc/1\n")
	want(t, "mkdir -p /tmp/a; chroot /tmp/a /bin/true 2>/dev/null; cd /tmp/a; ls -d ../../../../../../..", "../../../../../../..\n")
	_, text := output(t, newStep(t, newRoot(t), "cut -d' ' -f5 /proc/self/mountinfo"))
	for line := range strings.Lines(text) {
		top := strings.Split(strings.TrimSpace(line), "/")[1]
		if !slices.Contains([]string{"", "proc", "sys", "dev"}, top) {
			t.Errorf("mounted in the step: %s", line)
		}
	}
}

func TestDevices(t *testing.T) {
	want(t, "cd /dev; echo *; ls -A /dev/shm /dev/pts; echo x > null; head -c 3 zero | wc -c; test -t 0 || echo no terminal",
		"fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero\n/dev/pts:\nptmx\n\n/dev/shm:\n3\nno terminal\n")
}

func TestMasksAndReadOnly(t *testing.T) {
	want(t, "cat /proc/keys /proc/interrupts | wc -c; ls -A /sys/firmware | wc -l", "0\n0\n")
	for _, name := range []string{"/proc/sys/kernel/domainname", "/proc/sys/vm/swappiness", "/proc/irq/default_smp_affinity"} {
		want(t, "test ! -e "+name+" || (echo 1 > "+name+") 2>&1 | grep -q 'Read-only' || echo written "+name, "")
	}
}

// The image's links don't decide where things are mounted.
func TestHostileTargets(t *testing.T) {
	for _, fixed := range []string{"proc", "sys", "dev"} {
		for _, kind := range []string{"link", "file"} {
			root := newRoot(t)
			must(t, os.Remove(filepath.Join(root, fixed)))
			if kind == "link" {
				must(t, os.Symlink("/etc", filepath.Join(root, fixed)))
			} else {
				must(t, os.WriteFile(filepath.Join(root, fixed), nil, 0o644))
			}
			files, err := rootfs.Open(root)
			must(t, err)
			if err := sandbox.NewTargets(files).Make(newStep(t, root, "true")); !errors.Is(err, unix.ENOTDIR) {
				t.Errorf("/%s is a %s: %v", fixed, kind, err)
			}
			must(t, files.Close())
		}
	}
	root, outside := newRoot(t), t.TempDir()
	must(t, os.Symlink(outside+"/made", root+"/etc/hosts"))
	must(t, os.Symlink("../../../../../.."+outside+"/made", root+"/etc/resolv.conf"))
	must(t, os.Symlink("/proc/self/root/etc/hostname", root+"/etc/hostname"))
	files, err := rootfs.Open(root)
	must(t, err)
	defer files.Close()
	for _, name := range []string{"/etc/hosts", "/etc/resolv.conf", "/etc/hostname"} {
		s := newStep(t, root, "cat "+name)
		s.Files = []sandbox.File{{Target: name, Content: []byte("ours\n"), Mode: 0o644}}
		targets := sandbox.NewTargets(files)
		must(t, targets.Make(s))
		if code, text := output(t, s); code != 0 && name != "/etc/hostname" || name != "/etc/hostname" && text != "ours\n" {
			t.Errorf("%s: status %d, %q", name, code, text)
		}
		must(t, targets.Remove())
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("made outside: %v", left)
	}
}

// The host's own program must not be what runs, by whatever name the image has for it.
func TestProgramOfTheHost(t *testing.T) {
	root := newRoot(t)
	must(t, os.Symlink("/proc/self/exe", root+"/bin/magic"))
	must(t, os.WriteFile(root+"/bin/script", []byte("#!/proc/self/exe\n"), 0o755))
	must(t, os.WriteFile(root+"/bin/spaced", []byte("#! \t/bin/magic x\n"), 0o755))
	must(t, os.WriteFile(root+"/bin/second", []byte("#!/bin/script\n"), 0o755))
	must(t, os.Symlink("/proc/self/fd/3", root+"/bin/descriptor"))
	for _, name := range []string{"/proc/self/exe", "/proc/1/exe", "/bin/magic", "/bin/script", "/bin/spaced", "/bin/second", "/bin/descriptor"} {
		s := newStep(t, root, "")
		s.Args = []string{name, "-test.list", "."}
		_, text, err := try(t, s)
		var failed *sandbox.Error
		if !errors.As(err, &failed) || !failed.Program {
			t.Errorf("%s: %v, %q", name, err, text)
		}
	}
}

func TestWorkingDirectoryOfTheHost(t *testing.T) {
	root := newRoot(t)
	must(t, os.Symlink("/proc/self/fd/4", root+"/wd"))
	for _, name := range []string{"/proc/self/fd/4", "/proc/1/cwd", "/proc/self/root", "/wd"} {
		s := newStep(t, root, "ls")
		s.Dir = name
		if _, text, err := try(t, s); err == nil {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestPrograms(t *testing.T) {
	root := newRoot(t)
	must(t, os.WriteFile(root+"/bin/hello", []byte("#!/bin/sh -e\necho hello \"$1\"\n"), 0o755))
	must(t, os.WriteFile(root+"/bin/data", []byte("x"), 0o644))
	s := newStep(t, root, "")
	s.Args = []string{"/bin/hello", "you"}
	if _, text := output(t, s); text != "hello you\n" {
		t.Errorf("a script printed %q", text)
	}
	for name, errno := range map[string]syscall.Errno{"/bin/none": unix.ENOENT, "/bin/data": unix.EACCES, "/bin": unix.EACCES} {
		s.Args = []string{name}
		var failed *sandbox.Error
		if _, _, err := try(t, s); !errors.As(err, &failed) || !failed.Program || failed.Err != errno {
			t.Errorf("%s: %v, want %v", name, err, errno)
		}
	}
}

// living returns the processes of this machine with an argument.
func living(argument string) (pids []string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range lines {
		if data, _ := os.ReadFile(name); strings.Contains(string(data), "\x00"+argument+"\x00") {
			pids = append(pids, name)
		}
	}
	return pids
}

// nap returns a number of seconds that no other process of this machine sleeps for.
func nap(n int) string { return fmt.Sprintf("9876%d.%d", n, os.Getpid()) }

func TestNothingOutlives(t *testing.T) {
	s := newStep(t, newRoot(t), strings.ReplaceAll(
		"setsid sleep NAP </dev/null >/dev/null 2>&1 & (setsid sh -c 'trap \"\" TERM HUP; sleep NAP' &) ; sleep 0.1", "NAP", nap(1)))
	output(t, s)
	if left := living(nap(1)); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

func TestCancel(t *testing.T) {
	s := newStep(t, newRoot(t), "trap '' TERM INT HUP; sleep "+nap(2))
	s.Stdout, s.Stderr = os.Stdout, os.Stderr
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := s.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v to end", took)
	}
	if left := living(nap(2)); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

func TestMany(t *testing.T) {
	root := newRoot(t)
	var running sync.WaitGroup
	for i := range 8 {
		user := sandbox.User{UID: uint32(i % 2)} // both ways of starting
		running.Go(func() {
			for range 10 {
				s := newStep(t, root, "echo $$ $0; exit 7")
				s.User = user
				state, text, err := try(t, s)
				if err != nil || state.ExitCode() != 7 || text != "1 /bin/sh\n" {
					t.Errorf("%v, %v, %q", err, state, text)
				}
			}
		})
	}
	running.Wait()
	// Nobody's memory became undumpable on the way.
	if dumpable, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); dumpable != 1 {
		t.Errorf("dumpable is %d", dumpable)
	}
}

func TestNetwork(t *testing.T) {
	s := newStep(t, newRoot(t), "grep -c : /proc/net/dev; cat /proc/sys/net/ipv4/ip_forward; ls /sys/class/net; (echo > /sys/class/net/lo/mtu) 2>/dev/null || echo read-only")
	s.Network = sandbox.Namespace{Join: otherNamespace(t, "net", unix.CLONE_NEWNET)}
	s.Sysctls = []sandbox.Sysctl{{Name: "net.ipv4.ip_forward", Value: "1"}}
	if code, text := output(t, s); text != "1\n1\nlo\nread-only\n" {
		t.Errorf("status %d: %s", code, text)
	}
}

func TestLimits(t *testing.T) {
	s := newStep(t, newRoot(t), "ulimit -n; ulimit -Hn")
	s.Limits = []sandbox.Limit{{Resource: unix.RLIMIT_NOFILE, Soft: 512, Hard: 600}}
	if _, text := output(t, s); text != "512\n600\n" {
		t.Errorf("limits %q", text)
	}
}

func BenchmarkStep(b *testing.B) {
	s := newStep(b, newRoot(b), ":")
	s.Stdout, s.Stderr = s.Stdin, s.Stdin
	for b.Loop() {
		state, err := s.Run(b.Context())
		must(b, err)
		if !state.Success() {
			b.Fatal(state)
		}
	}
}
