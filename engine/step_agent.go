package engine

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rlbuild/rlbuild/engine/agent"
	"github.com/rlbuild/rlbuild/engine/failure"
)

// prepare serves an agent that lists keys and signs, and does nothing else for a step.
func (s *SSHMount) prepare(_ context.Context, m *stepMounts) error {
	if len(s.Sources) == 0 {
		return nil
	}
	paths, err := s.paths()
	if err != nil {
		return err
	}
	open, err := agent.Open(paths)
	if err != nil {
		return s.unusable(err)
	}
	dir, err := m.place(true)
	if err != nil {
		return err
	}
	served, err := agent.Serve(dir, m.c.builder.ProcessLabel, open)
	if err != nil {
		return err
	}
	m.undo = append(m.undo, served.Close)
	socket := filepath.Join(dir, agent.Socket)
	m.undo = append(m.undo, func() error { return os.Remove(socket) })
	mode := uint32(0o600)
	if s.Mode != nil {
		mode = *s.Mode
	}
	target := s.Target
	if target == "" {
		target = "/run/buildkit/ssh_agent." + strconv.Itoa(m.agents)
	}
	if m.agents++; m.agents == 1 {
		m.env = append(m.env, "SSH_AUTH_SOCK="+inStep(m.workDir, target))
	}
	return m.showOwn(socket, target, mode, s.UID, s.GID)
}

// paths returns where the sources are on the host.
func (s *SSHMount) paths() (paths []string, err error) {
	for _, source := range s.Sources {
		at, err := source.Resolve()
		if err != nil {
			return nil, s.unusable(err)
		}
		paths = append(paths, at)
	}
	return paths, nil
}

// unusable returns the error that there is nothing to sign with.
func (s *SSHMount) unusable(err error) error {
	var names []string
	for _, source := range s.Sources {
		names = append(names, source.host())
	}
	return failure.New("ssh", strings.Join(names, ", "), "%w", err).
		WithHint("name one agent's socket, or files with private keys that have no passphrase.")
}
