package diagnose

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/filesystem"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// NotRun says why argv could not be executed, nil if the files don't tell.
func (s *Scene) NotRun(argv []string, errno syscall.Errno) *Cause {
	k := s.program(argv[0], errno)
	if k != nil && k.Of == trouble.NoCommand && s.Command.Shell {
		return &Cause{trouble.NoShell, trouble.Facts{"shell": argv[0]}}
	}
	return k
}

// programLine matches what shells, env(1) and runc print of a program that they can't execute.
var programLine = sync.OnceValue(func() *regexp.Regexp {
	const why = `(?i:not found|command not found|no such file or directory|permission denied|is a directory|exec format error|` +
		`cannot execute.*|bad interpreter.*)`
	return regexp.MustCompile(`^(?:exec (?P<exec>/\S+)|(?:\S*(?:sh|bash|env): )(?:line )?(?:\d+: )?(?:exec: |can't execute |cannot execute )?` +
		`['"‘]?(?P<named>[^\s:'"’]+)['"’]?(?:: exec)?): ` + why + `$`)
})

// elfLine matches what a shell prints of a program for another machine, which it takes for a script of its own.
var elfLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(/\S+): (?:line )?\d+: `) })

// namesProgram says why a program can't be executed that a line is about.
func (s *Scene) namesProgram(code int, line string) *Cause {
	if s.Files == nil {
		return nil
	}
	if m := programLine().FindStringSubmatch(line); m != nil && (code == 126 || code == 127 || m[1] != "") {
		errno := syscall.Errno(0)
		if strings.HasSuffix(line, "exec format error") {
			errno = unix.ENOEXEC
		}
		name := cmp.Or(m[1], m[2])
		if strings.Contains(name, "/") && !path.IsAbs(name) {
			if _, err := s.stat(path.Join("/", s.Command.Dir, name)); err != nil {
				return nil // the command may have changed its directory
			}
		}
		k := s.program(name, errno)
		if k != nil && (k.Of == trouble.NoCommand || k.Of == trouble.NoHostCommand) {
			// Perhaps env(1) says so, and a script named the command.
			if len(s.Command.Words) == 0 {
				return k
			}
			if by := s.program(s.Command.Words[0], 0); by != nil && by.Facts["interpreter"] == name {
				return by
			}
		}
		return k
	}
	if m := elfLine().FindStringSubmatch(line); m != nil {
		if k := s.program(m[1], 0); k != nil && k.Of == trouble.ForeignProgram {
			return k
		}
	}
	return nil
}

// program says why a program can't be executed, nil if nothing keeps it. errno is what the kernel said, 0 if that isn't known.
func (s *Scene) program(name string, errno syscall.Errno) *Cause {
	file, info, err := s.find(name)
	if err != nil {
		return nil
	}
	facts := trouble.Facts{"command": name, "place": s.Place, "where": "in the container", "path": "", "missing": fmt.Sprintf("file %q", name)}
	if s.Place == Machine {
		facts["where"] = "on this machine"
	}
	switch {
	case file == "":
		if !strings.Contains(name, "/") {
			facts["path"] = fmt.Sprintf(" (PATH is %q)", s.searchPath())
			facts["missing"] = fmt.Sprintf("command %q in PATH", name)
		}
		if s.Place != Machine {
			return &Cause{trouble.NoCommand, facts}
		}
		if k := s.hostRefused(path.Join("/", s.Command.Dir, name)); k != nil && !path.IsAbs(name) && facts["path"] == "" {
			return k
		} else if k := s.hostRefused(name); k != nil && path.IsAbs(name) {
			return k
		}
		return &Cause{trouble.NoHostCommand, facts}
	case info.Mode.IsDir():
		facts["detail"] = "it is a directory"
		return &Cause{trouble.NoProgram, facts}
	case info.Mode&0o111 == 0:
		facts["detail"] = fmt.Sprintf("the mode of %s is %04o", file, info.Bits())
		return &Cause{trouble.NotExecutable, facts}
	}
	if k := s.closed(name, file); k != nil {
		return k
	}
	if at := s.noExec(file); at != "" {
		facts["path"] = at
		return &Cause{trouble.NoExecMount, facts}
	}
	return s.content(file, errno, 0)
}

// find returns where a program is, one that may be executed rather than another; "" if it is nowhere, and an error if that
// can't be told.
func (s *Scene) find(name string) (file string, info rootfs.Info, err error) {
	candidates := []string{path.Join("/", s.Command.Dir, name)}
	if path.IsAbs(name) {
		candidates[0] = path.Clean(name)
	} else if !strings.Contains(name, "/") {
		candidates = nil
		for _, dir := range filepath.SplitList(s.searchPath()) {
			if !path.IsAbs(dir) {
				dir = path.Join("/", s.Command.Dir, dir)
			}
			candidates = append(candidates, path.Join(dir, name))
		}
	}
	for _, candidate := range candidates {
		at, err := s.stat(candidate)
		if err != nil && !absent(err) && s.Place != Machine {
			return "", rootfs.Info{}, err
		}
		if err != nil || at.Mode.IsDir() && len(candidates) > 1 {
			continue
		}
		if at.Mode&0o111 != 0 && !at.Mode.IsDir() {
			return candidate, at, nil
		}
		if file == "" {
			file, info = candidate, at
		}
	}
	return file, info, nil
}

// searchPath returns the directories that the command's PATH names, with colons between.
func (s *Scene) searchPath() string {
	for _, variable := range s.Command.Env {
		if dirs, ok := strings.CutPrefix(variable, "PATH="); ok {
			return dirs
		}
	}
	return ""
}

// closed says which directory keeps the command's user from a program. Root may pass everywhere.
func (s *Scene) closed(name, file string) *Cause {
	if s.User.Inside.UID == 0 {
		return nil
	}
	f, err := s.see(file)
	if err != nil {
		return nil
	}
	defer f.close()
	if f.mount != nil {
		return nil
	}
	user := s.User.Outside
	for dir := path.Dir(f.name); ; dir = path.Dir(dir) {
		info, err := f.files.Stat(dir)
		if err != nil {
			return nil
		}
		if !allowed(info, user, unix.X_OK) {
			return &Cause{trouble.ClosedDirectory, trouble.Facts{"command": name, "path": dir, "mode": fmt.Sprintf("%04o", info.Bits()),
				"owner": fmt.Sprintf("%d:%d", info.UID, info.GID), "user": fmt.Sprint(s.User.Inside.UID)}}
		}
		if dir == "/" {
			return nil
		}
	}
}

// noExec returns where the mount is that a file can't be executed for, or "".
func (s *Scene) noExec(file string) string {
	f, err := s.see(file)
	if err != nil {
		return ""
	}
	defer f.close()
	shown := file
	if f.mount != nil {
		shown = f.mount.Target
		if f.mount.NoExec {
			return shown
		}
	} else if s.Place != Machine {
		return ""
	}
	handle, err := f.files.Handle(f.inside)
	if err != nil {
		return ""
	}
	defer handle.Close()
	if on, err := filesystem.OfFile(handle); err != nil || !on.Has(unix.ST_NOEXEC) {
		return ""
	}
	return shown
}

// How much is read of a program: as much as the kernel does of a script's first line, and of an ELF file the headers.
const (
	scriptHead      = 256
	mostInterpreted = 4 // scripts whose interpreters are scripts
)

// content says what a program lacks that can be found and may be executed.
func (s *Scene) content(file string, errno syscall.Errno, depth int) *Cause {
	at, err := s.see(file)
	if err != nil {
		return nil
	}
	defer at.close()
	f, err := at.files.OpenFile(at.inside)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, scriptHead)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil
	}
	switch head = head[:n]; {
	case bytes.HasPrefix(head, []byte("#!")):
		return s.script(file, head, errno, depth)
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return s.elf(file, f, errno)
	case errno != unix.ENOEXEC:
		return nil
	case n == 0:
		return &Cause{trouble.NoProgram, trouble.Facts{"command": file, "detail": "it is empty"}}
	}
	return &Cause{trouble.NoProgram, trouble.Facts{"command": file, "detail": `it begins with neither "#!" nor the mark of an ELF file`}}
}

// envPlain tells whether a word in front of env(1)'s command is a variable, or an option without an argument of its own.
func envPlain(word string) bool {
	return slices.Contains([]string{"-", "-S", "-i", "-v", "--split-string", "--ignore-environment", "--debug"}, word) ||
		!strings.HasPrefix(word, "-") && strings.Contains(word, "=")
}

// script says what keeps a script from its interpreter.
func (s *Scene) script(file string, head []byte, errno syscall.Errno, depth int) *Cause {
	line, _, _ := strings.Cut(string(head[len("#!"):]), "\n")
	words := strings.Fields(line)
	if len(words) == 0 || depth == mostInterpreted {
		return nil
	}
	interpreter := words[0]
	there := func(name string) bool { at, _, err := s.find(name); return at != "" || err != nil }
	facts := trouble.Facts{"command": file, "place": s.Place, "interpreter": interpreter}
	windows := strings.HasSuffix(line, "\r")
	if !path.IsAbs(interpreter) {
		return nil
	}
	if path.Base(interpreter) == "env" && there(interpreter) {
		i := slices.IndexFunc(words[1:], func(w string) bool { return !envPlain(w) })
		if i < 0 || strings.HasPrefix(words[1+i], "-") {
			return nil
		}
		interpreter = words[1+i]
		facts["interpreter"] = interpreter
	}
	switch {
	case windows && len(words) == 1+slices.Index(words, interpreter) && !there(interpreter+"\r"):
		return &Cause{trouble.CarriageReturn, facts}
	case !there(interpreter):
		return &Cause{trouble.NoInterpreter, facts}
	}
	at, _, err := s.find(interpreter)
	if err != nil {
		return nil
	}
	return s.content(at, errno, depth+1)
}
