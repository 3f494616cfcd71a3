package sandbox_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// A step is in the namespaces that the caller chooses: new ones, its own, others.
func TestChosenNamespaces(t *testing.T) {
	kinds := map[string]func(*sandbox.Step) *sandbox.Namespace{
		"net":    func(s *sandbox.Step) *sandbox.Namespace { return &s.Network },
		"ipc":    func(s *sandbox.Step) *sandbox.Namespace { return &s.IPC },
		"uts":    func(s *sandbox.Step) *sandbox.Namespace { return &s.UTS },
		"cgroup": func(s *sandbox.Step) *sandbox.Namespace { return &s.Cgroup },
	}
	flags := map[string]int{"net": unix.CLONE_NEWNET, "ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP}
	root := newRoot(t)
	for kind, of := range kinds {
		own, err := os.Readlink("/proc/self/ns/" + kind)
		must(t, err)
		other := otherNamespace(t, kind, flags[kind])
		target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", other.Fd()))
		must(t, err)
		for mode, n := range map[string]sandbox.Namespace{"new": {}, "host": {Host: true}, "joined": {Join: other}} {
			s := newStep(t, root, "readlink /proc/self/ns/"+kind)
			*of(s) = n
			code, text := output(t, s)
			text = strings.TrimSpace(text)
			if code != 0 || (text == own) != (mode == "host") || (text == target) != (mode == "joined") {
				t.Errorf("%s %s: status %d, %q; the caller's is %q, the other %q", mode, kind, code, text, own, target)
			}
		}
	}
}

// otherNamespace returns a new namespace that nobody is in.
func otherNamespace(t *testing.T, kind string, flag int) *os.File {
	t.Helper()
	made := make(chan *os.File)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		must(t, unix.Unshare(flag))
		f, err := os.Open("/proc/thread-self/ns/" + kind)
		must(t, err)
		made <- f
	}()
	file := <-made
	t.Cleanup(func() { file.Close() })
	return file
}

// What belongs to namespaces goes with them: the host name, the loopback interface, processes.
func TestChosenNamespacesInside(t *testing.T) {
	root := newRoot(t)
	host, err := os.Hostname()
	must(t, err)
	s := newStep(t, root, "hostname")
	s.UTS.Host = true
	if code, text := output(t, s); code != 0 || text != host+"\n" {
		t.Errorf("host name: status %d, %q", code, text)
	}
	s = newStep(t, root, "ping -c 1 127.0.0.1 > /dev/null 2>&1; ls /sys/class/net; cat /sys/class/net/lo/flags")
	s.Network = sandbox.Namespace{}
	if code, text := output(t, s); code != 0 || text != "lo\n0x9\n" {
		t.Errorf("network: status %d, %q", code, text)
	}
	s = newStep(t, root, fmt.Sprintf("test -d /proc/%d && cat /proc/keys | wc -c; (echo 1 > /proc/sys/vm/swappiness) 2>/dev/null || echo read-only", os.Getpid()))
	s.HostPID = true
	if code, text := output(t, s); code != 0 || text != "0\nread-only\n" {
		t.Errorf("processes: status %d, %q", code, text)
	}
}

// A step among the host's processes gets at none of them.
func TestHostProcessesAreNotTraced(t *testing.T) {
	line := fmt.Sprintf("for name in root cwd fd/0 mem environ; do (cat /proc/%d/$name || ls /proc/%[1]d/$name/) > /dev/null 2>&1 && echo $name; done; true", os.Getpid())
	s := newStep(t, newRoot(t), line)
	s.HostPID = true
	if code, text := output(t, s); code != 0 || text != "" {
		t.Errorf("status %d, reached: %q", code, text)
	}
}

func TestMoreDevices(t *testing.T) {
	s := newStep(t, newRoot(t), "echo x > /dev/nothing; head -c 2 /dev/deep/er/zero | wc -c; echo x > /dev/zero && echo ok; ls /dev/many; df -k /dev/shm | tail -1 | awk '{print $2}'")
	s.Devices = []sandbox.Bind{
		{Source: "/dev/null", Target: "/dev/nothing"}, {Source: "/dev/zero", Target: "/dev/deep/er/zero"},
		{Source: "/dev/null", Target: "/dev/zero"}, {Source: "/dev/pts", Target: "/dev/many"},
	}
	s.ShmSize = "3m"
	names, err := os.ReadDir("/dev/pts")
	must(t, err)
	var list strings.Builder
	for _, name := range names {
		list.WriteString(name.Name() + "\n")
	}
	if code, text := output(t, s); code != 0 || text != "2\nok\n"+list.String()+"3072\n" {
		t.Errorf("status %d: %s", code, text)
	}
}

// Masks are looked up in the step's root, whatever the image's links say.
func TestMasksAnywhere(t *testing.T) {
	root, outside := newRoot(t), secret(t)
	must(t, os.WriteFile(root+"/etc/key", []byte("key"), 0o644))
	must(t, os.Mkdir(root+"/srv", 0o755))
	must(t, os.WriteFile(root+"/srv/file", []byte("file"), 0o644))
	must(t, os.Symlink("../../../../.."+outside, root+"/etc/out"))
	s := newStep(t, root, "cat /etc/key | wc -c; ls /srv | wc -l; (echo > /srv/new) 2>/dev/null || echo read-only; head -c 1 /dev/full | wc -c")
	s.Masked = append(s.Masked, "/etc/key", "/srv", "/etc/out", "/etc/absent", "/dev/full")
	if code, text := output(t, s); code != 0 || text != "0\n0\nread-only\n0\n" {
		t.Errorf("status %d: %s", code, text)
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "of the host" {
		t.Errorf("the host's file: %q, %v", text, err)
	}
}
