package engine

import (
	"context"
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
	open, err := agent.Open(s.Sources)
	if err != nil {
		return failure.New("ssh", strings.Join(s.Sources, ", "), "%w", err).
			WithHint("name one agent's socket, or files with private keys that have no passphrase.")
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
	mode := uint32(0o600)
	if s.Mode != nil {
		mode = *s.Mode
	}
	if err := m.give(socket, mode, s.UID, s.GID); err != nil {
		return err
	}
	at, err := m.pinAt(socket)
	if err != nil {
		return err
	}
	if err := m.restrict(at, &MountFlags{ReadOnly: true}); err != nil {
		return err
	}
	target := s.Target
	if target == "" {
		target = "/run/buildkit/ssh_agent." + strconv.Itoa(m.agents)
	}
	if m.agents++; m.agents == 1 {
		m.env = append(m.env, "SSH_AUTH_SOCK="+inStep(m.workDir, target))
	}
	return m.show(at, target, "")
}
