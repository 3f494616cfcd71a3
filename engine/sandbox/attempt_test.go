package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// attemptName is the variable that makes this binary, run as a step, try one way out.
const attemptName = "SANDBOX_ATTEMPT"

// attempts are system calls by which a step might get out, each with the errors by which it may be refused. They are tried
// as the step's root, which has all the capabilities a step ever has.
var attempts = map[string]struct {
	try    func() error
	refuse []syscall.Errno
}{
	"mount tmpfs": {func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") }, refused},
	"bind":        {func() error { return unix.Mount("/proc", "/tmp", "", unix.MS_BIND, "") }, refused},
	"remount /proc/sys writable": {func() error {
		return unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "")
	}, refused},
	"remount /sys writable": {func() error { return unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") }, refused},
	"unmount a mask":        {func() error { return unix.Unmount("/proc/keys", unix.MNT_DETACH) }, refused},
	"unmount /proc/sys":     {func() error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) }, refused},
	"pivot_root":            {func() error { return unix.PivotRoot("/", "/tmp") }, refused},
	"move_mount": {func() error {
		return unix.MoveMount(unix.AT_FDCWD, "/proc/keys", unix.AT_FDCWD, "/tmp/x", 0)
	}, refused},
	"open_tree": {func() error { return first(unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.AT_RECURSIVE)) }, refused},
	"fsopen":    {func() error { return first(unix.Fsopen("proc", 0)) }, refused},
	"mount_setattr": {func() error {
		return unix.MountSetattr(unix.AT_FDCWD, "/proc/sys", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	}, refused},
	"mknod":           {func() error { return unix.Mknod("/tmp/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))) }, refused},
	"unshare mount":   {func() error { return unix.Unshare(unix.CLONE_NEWNS) }, refused},
	"unshare network": {func() error { return unix.Unshare(unix.CLONE_NEWNET) }, refused},
	"setns of own":    {func() error { return setns("/proc/self/ns/mnt") }, refused},
	"setns of init":   {func() error { return setns("/proc/1/ns/user") }, append(refused, syscall.EINVAL)},
	"bpf":             {func() error { return call(unix.SYS_BPF, 0, 0, 0) }, refused},
	"perf_event_open": {func() error { return call(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0) }, append(refused, syscall.EFAULT)},
	"userfaultfd":     {func() error { return call(unix.SYS_USERFAULTFD, 0, 0, 0) }, refused},
	"kexec_load":      {func() error { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0) }, refused},
	"init_module":     {func() error { return unix.InitModule([]byte("x"), "") }, refused},
	"reboot":          {func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) }, append(refused, syscall.EINVAL)},
	"swapon":          {func() error { return call(unix.SYS_SWAPON, uintptr(unsafe.Pointer(&[]byte("/x\x00")[0])), 0, 0) }, refused},
	"settimeofday":    {func() error { return unix.Settimeofday(&unix.Timeval{Sec: 1}) }, refused},
	"sethostname":     {func() error { return unix.Sethostname([]byte("x")) }, refused},
	"setdomainname":   {func() error { return unix.Setdomainname([]byte("x")) }, refused},
	"open_by_handle_at": {func() error {
		handle := unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0})
		return first(unix.OpenByHandleAt(unix.AT_FDCWD, handle, unix.O_RDONLY))
	}, refused},
	"iopl":        {func() error { return unix.Iopl(3) }, refused},
	"quotactl":    {func() error { return call(unix.SYS_QUOTACTL, 0, 0, 0) }, refused},
	"acct":        {func() error { return unix.Acct("/tmp/x") }, refused},
	"ptrace 1":    {func() error { return unix.PtraceAttach(1) }, refused},
	"write sysrq": {func() error { return write("/proc/sysrq-trigger", "h") }, append(refused, syscall.EROFS, syscall.ENOENT)},
	"write core_pattern": {func() error { return write("/proc/sys/kernel/core_pattern", "|/x") },
		append(refused, syscall.EROFS)},
	"write hostname": {func() error { return write("/proc/sys/kernel/hostname", "x") }, append(refused, syscall.EROFS)},
	"write /sys":     {func() error { return write("/sys/kernel/uevent_helper", "/x") }, append(refused, syscall.EROFS, syscall.ENOENT)},
	"make a cgroup":  {func() error { return unix.Mkdir("/sys/fs/cgroup/x", 0o755) }, append(refused, syscall.EROFS)},
	"read kcore":     {func() error { return read("/proc/kcore") }, append(refused, syscall.ENOENT)},
	"read keys":      {func() error { return read("/proc/keys") }, refused},
	"open /dev/kmsg": {func() error { return read("/dev/kmsg") }, []syscall.Errno{syscall.ENOENT}},
	"open /dev/mem":  {func() error { return read("/dev/mem") }, []syscall.Errno{syscall.ENOENT}},
	"open /dev/fuse": {func() error { return read("/dev/fuse") }, []syscall.Errno{syscall.ENOENT}},
	"open /dev/tty":  {func() error { return read("/dev/tty") }, []syscall.Errno{syscall.ENXIO}},
	"TIOCSTI": {func() error {
		return call(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&[]byte("x")[0])))
	}, append(refused, syscall.ENOTTY, syscall.EIO)},
	"raise the limit of files": {func() error {
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 19, Max: 1 << 19})
	}, refused},
	"raise a capability": {raiseCapability, refused},
}

var refused = []syscall.Errno{syscall.EPERM, syscall.EACCES, syscall.ENOSYS}

func first(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func call(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall6(number, a, b, c, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func setns(name string) error {
	fd, err := unix.Open(name, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return unix.Setns(fd, 0)
}

func write(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return err
}

// read fails when there is nothing to read: what is masked is empty.
func read(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	if n, err := file.Read(make([]byte, 1)); n == 0 {
		return errors.Join(err, syscall.EACCES)
	}
	return nil
}

// raiseCapability asks for CAP_SYS_ADMIN.
func raiseCapability() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Permitted |= 1 << unix.CAP_SYS_ADMIN
	data[0].Effective |= 1 << unix.CAP_SYS_ADMIN
	return unix.Capset(&header, &data[0])
}

// attemptMain runs inside a step: it prints what came of an attempt.
func attemptMain(names string) {
	runtime.LockOSThread()
	for name := range strings.SplitSeq(names, ",") {
		var errno syscall.Errno
		err := attempts[name].try()
		if errors.As(err, &errno) {
			fmt.Printf("%s=%d\n", name, int(errno))
		} else {
			fmt.Printf("%s=%v\n", name, err)
		}
	}
}

// newGoStep returns a step that runs this very binary, with the host's libraries that it is linked to.
func newGoStep(t *testing.T, root string) *sandbox.Step {
	t.Helper()
	s := newStep(t, root, "")
	for _, name := range []string{"/usr", "/lib", "/lib64"} {
		if _, err := os.Stat(name); err == nil {
			must(t, os.Mkdir(root+name, 0o755))
			s.Binds = append(s.Binds, sandbox.Bind{Source: name, Target: name, ReadOnly: true})
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(root+"/attempt", self, 0o755))
	s.Args = []string{"/attempt"}
	return s
}

// Every attempt is refused by one of the errors that mean a refusal: another error would be a test that tries nothing.
func TestWaysOut(t *testing.T) {
	s := newGoStep(t, newRoot(t))
	var names []string
	for name := range attempts {
		names = append(names, name)
	}
	s.Limits = []sandbox.Limit{{Resource: unix.RLIMIT_NOFILE, Soft: 1024, Hard: 1024}}
	s.Env = append(s.Env, attemptName+"="+strings.Join(names, ","))
	code, text := output(t, s)
	if code != 0 {
		t.Fatalf("status %d: %s", code, text)
	}
	results := map[string]string{}
	for line := range strings.Lines(text) {
		name, result, _ := strings.Cut(strings.TrimSpace(line), "=")
		results[name] = result
	}
	for name, attempt := range attempts {
		result, ok := results[name]
		if !ok {
			t.Errorf("%s: was not tried: %s", name, text)
			continue
		}
		allowed := false
		for _, errno := range attempt.refuse {
			allowed = allowed || result == fmt.Sprint(int(errno))
		}
		if !allowed {
			t.Errorf("%s: %s", name, result)
		}
	}
}

// The same attempts succeed, or fail for other reasons, where nothing is taken away: so the attempts are good ones.
func TestWaysOutOutside(t *testing.T) {
	for _, name := range []string{"unshare mount", "mount tmpfs", "open_tree", "fsopen", "sethostname"} {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlock: the thread goes, and what it changed
			must(t, unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_NEWUTS))
			done <- attempts[name].try()
		}()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
