package diagnose

import (
	"encoding/binary"
	"io"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/trouble"
)

// elfFile is what decides whether an ELF file can be executed: elf(5). The standard library's reader isn't made for
// hostile files.
type elfFile struct {
	machine uint16
	class   byte // 1: 32 bits, 2: 64
	order   binary.ByteOrder
	loader  string // PT_INTERP, "" for a static program
}

// What of an ELF file is read at most.
const (
	mostSegments  = 128
	longestLoader = 4096
	ptInterp      = 3
)

// readELF reads an ELF file's headers; ok is false for one that isn't whole.
func readELF(r io.ReaderAt) (f elfFile, ok bool) {
	head := make([]byte, 64)
	if n, _ := r.ReadAt(head, 0); n < 52 {
		return f, false
	}
	f.class, f.order = head[4], binary.LittleEndian
	if head[5] == 2 {
		f.order = binary.BigEndian
	}
	f.machine = f.order.Uint16(head[18:])
	offset, size, count := int64(f.order.Uint32(head[28:])), int64(f.order.Uint16(head[42:])), int64(f.order.Uint16(head[44:]))
	if f.class == 2 {
		offset, size, count = int64(f.order.Uint64(head[32:])), int64(f.order.Uint16(head[54:])), int64(f.order.Uint16(head[56:]))
	}
	if offset < 0 || size < 32 || f.class == 2 && size < 56 || size > 256 || count > mostSegments {
		return f, true // what it is for is known; nothing more will be
	}
	for i := range count {
		segment := make([]byte, size)
		if n, _ := r.ReadAt(segment, offset+i*size); int64(n) < size {
			return f, true
		}
		if f.order.Uint32(segment) != ptInterp {
			continue
		}
		at, length := int64(f.order.Uint32(segment[4:])), int64(f.order.Uint32(segment[16:]))
		if f.class == 2 {
			at, length = int64(f.order.Uint64(segment[8:])), int64(f.order.Uint64(segment[32:]))
		}
		if at < 0 || length <= 0 || length > longestLoader {
			return f, true
		}
		name := make([]byte, length)
		if n, _ := r.ReadAt(name, at); int64(n) == length {
			f.loader, _, _ = strings.Cut(string(name), "\x00")
		}
		return f, true
	}
	return f, true
}

// architecture is what the machine is called in the names of platforms, "" for one that isn't known here.
func (f elfFile) architecture() string {
	little := f.order == binary.LittleEndian
	switch {
	case f.machine == 3 && little:
		return "386"
	case f.machine == 62 && f.class == 2:
		return "amd64"
	case f.machine == 40 && little:
		return "arm"
	case f.machine == 183 && little:
		return "arm64"
	case f.machine == 243 && f.class == 2:
		return "riscv64"
	case f.machine == 21 && little:
		return "ppc64le"
	case f.machine == 22 && f.class == 2:
		return "s390x"
	case f.machine == 258 && f.class == 2:
		return "loong64"
	case f.machine == 8 && f.class == 2 && little:
		return "mips64le"
	}
	return ""
}

// related are architectures whose programs machines of the other can execute, if the kernel is built so.
var related = map[string]string{"386": "amd64", "arm": "arm64"}

// elf says what keeps an ELF file from being executed here.
func (s *Scene) elf(file string, r io.ReaderAt, errno syscall.Errno) *Cause {
	f, ok := readELF(r)
	if !ok {
		return nil
	}
	switch arch := f.architecture(); {
	case arch == "":
		return nil
	case arch != runtime.GOARCH && related[arch] != runtime.GOARCH:
		emulator := "and no emulator is registered for it"
		if emulated(f.machine) {
			if errno == unix.ENOEXEC {
				return nil
			}
			emulator = "and the emulator that is registered for it (" + binfmts + ") can't be found from there: it takes the flag F"
		}
		return &Cause{trouble.ForeignProgram, trouble.Facts{
			"command": file, "architecture": arch, "machine": runtime.GOARCH, "emulator": emulator}}
	}
	if f.loader == "" || errno == unix.ENOEXEC || !path.IsAbs(f.loader) {
		return nil
	}
	if at, _, err := s.find(f.loader); at != "" || err != nil {
		return nil
	}
	library := ""
	switch {
	case strings.Contains(f.loader, "musl"):
		library = " (musl, as Alpine has it)"
	case strings.Contains(f.loader, "ld-linux"), strings.HasPrefix(path.Base(f.loader), "ld64.so"):
		library = " (glibc, as Debian and Fedora have it)"
	}
	return &Cause{trouble.NoLoader, trouble.Facts{"command": file, "place": s.Place, "loader": f.loader, "library": library}}
}

// binfmts is where the kernel lists what executes programs that it can't execute itself.
const binfmts = "/proc/sys/fs/binfmt_misc"

// emulated tells whether there is an emulator for an ELF machine.
func emulated(machine uint16) bool {
	files, _ := filepath.Glob(binfmts + "/*")
	for _, file := range files {
		words := setting(strings.TrimPrefix(file, "/proc/sys/"))
		for i, word := range words {
			// "magic 7f454c46…", of which bytes 18 and 19 are the machine
			if word == "magic" && i+1 < len(words) && len(words[i+1]) >= 40 && strings.HasPrefix(words[i+1], "7f454c46") {
				if isMachine(words[i+1][36:40], machine) && words[0] == "enabled" {
					return true
				}
			}
		}
	}
	return false
}

// isMachine tells whether four hexadecimal digits are the machine's number, in either order of its bytes.
func isMachine(digits string, machine uint16) bool {
	const hex = "0123456789abcdef"
	low := string([]byte{hex[machine>>4&15], hex[machine&15]})
	high := string([]byte{hex[machine>>12], hex[machine>>8&15]})
	return digits == low+high || digits == high+low
}
