package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"go.podman.io/common/pkg/seccomp"
	"golang.org/x/sys/unix"
)

// Filter is a compiled system call filter. It is made once and serves every step with the same capabilities.
type Filter struct{ program []byte } // struct sock_filter[]

// NewFilter compiles a profile of the containers tools, in their JSON, for steps with these capabilities: what a step may
// call depends on what it has (chroot on CAP_SYS_CHROOT, for example). Nil stands for their default profile. What is
// compiled is kept in cache, a directory, for later runs; "" keeps nothing.
func NewFilter(profile []byte, capabilities []string, cache string) (*Filter, error) {
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}}}
	load := seccomp.GetDefaultProfile
	if profile != nil {
		load = func(spec *specs.Spec) (*specs.LinuxSeccomp, error) {
			return seccomp.LoadProfileFromBytes(profile, spec)
		}
	}
	rules, err := load(spec)
	if err != nil {
		return nil, fmt.Errorf("loading the seccomp profile: %w", err)
	}
	if rules == nil {
		return nil, errors.New("the seccomp profile is empty")
	}
	program, err := compileOnce(rules, cache)
	if err != nil {
		return nil, fmt.Errorf("compiling the seccomp profile: %w", err)
	}
	return &Filter{program}, nil
}

// architectures are libseccomp's for the profile's names of them.
var architectures = map[specs.Arch]libseccomp.ScmpArch{
	specs.ArchX86: libseccomp.ArchX86, specs.ArchX86_64: libseccomp.ArchAMD64, specs.ArchX32: libseccomp.ArchX32,
	specs.ArchARM: libseccomp.ArchARM, specs.ArchAARCH64: libseccomp.ArchARM64,
	specs.ArchPPC: libseccomp.ArchPPC, specs.ArchPPC64: libseccomp.ArchPPC64, specs.ArchPPC64LE: libseccomp.ArchPPC64LE,
	specs.ArchS390: libseccomp.ArchS390, specs.ArchS390X: libseccomp.ArchS390X, specs.ArchRISCV64: libseccomp.ArchRISCV64,
}

var operators = map[specs.LinuxSeccompOperator]libseccomp.ScmpCompareOp{
	specs.OpNotEqual: libseccomp.CompareNotEqual, specs.OpLessThan: libseccomp.CompareLess,
	specs.OpLessEqual: libseccomp.CompareLessOrEqual, specs.OpEqualTo: libseccomp.CompareEqual,
	specs.OpGreaterEqual: libseccomp.CompareGreaterEqual, specs.OpGreaterThan: libseccomp.CompareGreater,
	specs.OpMaskedEqual: libseccomp.CompareMaskedEqual,
}

// action returns libseccomp's action. One that isn't known is an error: a filter must not be weaker than it was written.
func action(name specs.LinuxSeccompAction, errno *uint) (libseccomp.ScmpAction, error) {
	switch name {
	case specs.ActAllow:
		return libseccomp.ActAllow, nil
	case specs.ActErrno:
		code := uint(unix.EPERM) // the runtime specification's default
		if errno != nil {
			code = *errno
		}
		return libseccomp.ActErrno.SetReturnCode(int16(code)), nil
	case specs.ActKill, specs.ActKillThread:
		return libseccomp.ActKillThread, nil
	case specs.ActKillProcess:
		return libseccomp.ActKillProcess, nil
	case specs.ActLog:
		return libseccomp.ActLog, nil
	}
	return libseccomp.ActInvalid, fmt.Errorf("action %q is not supported", name)
}

// compile makes the kernel's program of a profile.
func compile(profile *specs.LinuxSeccomp) ([]byte, error) {
	fallback, err := action(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	filter, err := libseccomp.NewFilter(fallback)
	if err != nil {
		return nil, err
	}
	defer filter.Release()
	// A binary tree instead of a list: the kernel takes 1 ms to load the list, as it tries every system call on it, and the
	// step's own calls are checked faster. libseccomp before 2.5 has lists only.
	_ = filter.SetOptimize(2)
	for _, name := range profile.Architectures {
		arch, ok := architectures[name]
		if !ok {
			return nil, fmt.Errorf("architecture %q is not supported", name)
		}
		if err := filter.AddArch(arch); err != nil {
			return nil, fmt.Errorf("architecture %q: %w", name, err)
		}
	}
	for _, rule := range profile.Syscalls {
		if err := addRule(filter, rule, fallback); err != nil {
			return nil, err
		}
	}
	return export(filter)
}

func addRule(filter *libseccomp.ScmpFilter, rule specs.LinuxSyscall, fallback libseccomp.ScmpAction) error {
	do, err := action(rule.Action, rule.ErrnoRet)
	if err != nil {
		return err
	}
	if do == fallback {
		return nil // libseccomp refuses it as needless
	}
	var conditions []libseccomp.ScmpCondition
	for _, arg := range rule.Args {
		operator, ok := operators[arg.Op]
		if !ok {
			return fmt.Errorf("operator %q is not supported", arg.Op)
		}
		condition, err := libseccomp.MakeCondition(arg.Index, operator, arg.Value, arg.ValueTwo)
		if err != nil {
			return err
		}
		conditions = append(conditions, condition)
	}
	for _, name := range rule.Names {
		call, err := libseccomp.GetSyscallFromName(name)
		if err != nil {
			continue // newer than this libseccomp: what isn't known falls under the default action
		}
		if len(conditions) == 0 {
			err = filter.AddRule(call, do)
		} else {
			err = filter.AddRuleConditional(call, do, conditions)
		}
		if err != nil {
			return fmt.Errorf("rule %s for %s: %w", rule.Action, name, err)
		}
	}
	return nil
}

// export returns the filter as the kernel takes it. libseccomp only writes to descriptors.
func export(filter *libseccomp.ScmpFilter) ([]byte, error) {
	fd, err := unix.MemfdCreate("seccomp", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "seccomp")
	defer file.Close()
	if err := filter.ExportBPF(file); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	program, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	if !loadable(program) {
		return nil, fmt.Errorf("a program of %d bytes is none the kernel takes", len(program))
	}
	return program, nil
}
