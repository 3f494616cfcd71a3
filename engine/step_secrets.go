package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/selinux/go-selinux/label"
	butil "go.podman.io/buildah/util"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
)

// prepare puts the secret into memory: a file of a tmpfs that is gone with the step, and never into a file of a disk.
func (s *SecretMount) prepare(_ context.Context, m *stepMounts) error {
	content, err := s.content()
	if err != nil || content == nil {
		return err
	}
	if s.Variable != "" {
		if bytes.IndexByte(content, 0) >= 0 {
			return failure.New("secret", s.ID, "holds a NUL byte, which the environment can't").WithHint("use it as a file: target = …")
		}
		m.secrets = append(m.secrets, s.Variable+"="+string(content))
	}
	target := s.target()
	if target == "" {
		return nil
	}
	return m.showSecret(content, target, s.mode(), s.UID, s.GID)
}

// maxSecret bounds a secret, which is kept in memory, bytes.
const maxSecret = 16 << 20

// content returns the secret, nil if it may be missing and is.
func (s *SecretMount) content() ([]byte, error) {
	if s.Value != nil {
		return s.Value, nil
	}
	if s.File == (Source{}) {
		return nil, nil // a variable that isn't set
	}
	var content []byte
	at, err := s.File.Resolve()
	if err == nil {
		content, err = readSmall(at, maxSecret)
	}
	if errors.Is(err, fs.ErrNotExist) && s.Optional {
		return nil, nil
	} else if err != nil {
		if k := pathCause(at, reach.Read, err); k != nil && s.File.Root == "/" {
			return nil, k.explain("secret", s.ID, err)
		}
		return nil, failure.New("secret", s.ID, "%w", err).WithHint("name the file that holds it: src = …")
	}
	return content, nil
}

func (s *SecretMount) mode() uint32 {
	if s.Mode == nil {
		return 0o400
	}
	return *s.Mode
}

// showSecret shows a file in memory.
func (m *stepMounts) showSecret(content []byte, target string, mode, uid, gid uint32) error {
	dir, err := m.place(true)
	if err != nil {
		return err
	}
	if err := mountMemory(dir); err != nil {
		return err
	}
	m.mounted(dir)
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return err
	}
	return m.showOwn(file, target, mode, uid, gid)
}

// showOwn gives a file that was made for the step to it, by IDs as the step has them, and shows it.
func (m *stepMounts) showOwn(file, target string, mode, uid, gid uint32) error {
	if err := m.give(file, mode, uid, gid); err != nil {
		return err
	}
	at, err := m.pinAt(file)
	if err != nil {
		return err
	}
	if err := m.restrict(at, &MountFlags{ReadOnly: true}); err != nil {
		return err
	}
	return m.show(at, target, "")
}

// mountMemory mounts an empty tmpfs that nobody else can look into. The kernel may write it to swap, and nowhere else.
func mountMemory(dir string) error {
	err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700")
	return os.NewSyscallError("mount", err)
}

// give gives a file to the step: by IDs as the step has them.
func (m *stepMounts) give(name string, mode, uid, gid uint32) error {
	err := label.Relabel(name, m.c.builder.MountLabel, false)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return fmt.Errorf("labelling it for SELinux: %w", err)
	}
	ids := m.c.builder.IDMappingOptions
	if uid, gid, err = butil.GetHostIDs(ids.UIDMap, ids.GIDMap, uid, gid); err != nil {
		return err
	}
	if err := os.Lchown(name, int(uid), int(gid)); err != nil {
		return err
	}
	return unix.Chmod(name, mode)
}

// secretFile is where a step that the library runs finds what it is to have in its environment.
const secretFile = "/run/.rlbuild-environment"

// wrap has a command that the library runs find secrets in its environment. The library would write them to a file and, at
// debug level, to its log; a shell of the container's reads them from memory instead.
func (m *stepMounts) wrap(argv []string) ([]string, error) {
	if len(m.secrets) == 0 {
		return argv, nil
	}
	const shell = "/bin/sh"
	if _, err := m.c.files.Stat(shell); err != nil {
		return nil, failure.New("run", "secret(as_env = …)", "with isolation %q the container's %s passes it on, and there is none",
			m.way.Kind, shell).WithHint("use the secret as a file, or run the step with --isolation sandbox")
	}
	var script strings.Builder
	for _, variable := range m.secrets {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&script, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	if err := m.showSecret([]byte(script.String()), secretFile, 0o400, m.user.UID, m.user.GID); err != nil {
		return nil, err
	}
	return append([]string{shell, "-c", `. "$0"; exec "$@"`, secretFile}, argv...), nil
}
