package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// compileOnce compiles a profile, or reads from dir what an earlier run has compiled: libseccomp takes 20 ms for it. What is
// in dir is believed only if this user alone can have written it. With an empty dir, or one that can't be used, nothing
// is kept.
func compileOnce(profile *specs.LinuxSeccomp, dir string) ([]byte, error) {
	text, err := json.Marshal(profile)
	if err != nil {
		return nil, err
	}
	major, minor, micro := libseccomp.GetLibraryVersion()
	made := fmt.Sprintf("%s libseccomp %d.%d.%d %s", runtime.GOARCH, major, minor, micro, text)
	file := filepath.Join(dir, fmt.Sprintf("rlbuild-filter-%x", sha256.Sum256([]byte(made))))
	if dir != "" {
		if program := readFilter(file); program != nil {
			return program, nil
		}
	}
	program, err := compile(profile)
	if err == nil && dir != "" {
		keepFilter(file, program)
	}
	return program, err
}

// readFilter returns the program that keepFilter kept, or nil.
func readFilter(name string) []byte {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(file, sha256.Size+(unix.BPF_MAXINSNS+1)*unix.SizeofSockFilter))
	if err != nil || len(data) < sha256.Size {
		return nil
	}
	sum, program := data[:sha256.Size], data[sha256.Size:]
	if actual := sha256.Sum256(program); !bytes.Equal(sum, actual[:]) || !loadable(program) {
		return nil
	}
	return program
}

// keepFilter writes the program for later runs. Without it they are slower, and no more.
//
// The file has no name until it is whole (O_TMPFILE, open(2)): nothing is left when the run is killed meanwhile.
func keepFilter(name string, program []byte) {
	fd, err := unix.Open(filepath.Dir(name), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	sum := sha256.Sum256(program)
	if _, err := file.Write(append(sum[:], program...)); err != nil {
		return
	}
	_ = os.Remove(name) // one that couldn't be used, or nothing
	_ = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}

// loadable tells whether the kernel would look at a program of this size.
func loadable(program []byte) bool {
	n := len(program) / unix.SizeofSockFilter
	return n > 0 && n <= unix.BPF_MAXINSNS && len(program)%unix.SizeofSockFilter == 0
}
