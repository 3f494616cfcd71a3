package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/selinux/go-selinux"
	"go.podman.io/buildah/pkg/sshagent"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// prepare serves an agent that lists keys and signs, and does nothing else for a step.
func (s *SSHMount) prepare(_ context.Context, m *stepMounts) error {
	if len(s.Sources) == 0 {
		return nil
	}
	open, err := s.open()
	if err != nil {
		return failure.New("ssh", strings.Join(s.Sources, ", "), "%w", err).
			WithHint("name one agent's socket, or files with private keys that have no passphrase.")
	}
	dir, err := m.place(true)
	if err != nil {
		return err
	}
	served, err := serveAgent(dir, m.c.builder.ProcessLabel, open)
	if err != nil {
		return err
	}
	m.undo = append(m.undo, served.close)
	socket := filepath.Join(dir, agentSocket)
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

// open returns what opens the agent behind the mount, for each connection anew.
func (s *SSHMount) open() (func() (agent.ExtendedAgent, func() error, error), error) {
	source, err := sshagent.NewSource(s.Sources)
	if err != nil {
		return nil, err
	}
	if source.Socket != "" {
		connect := func() (agent.ExtendedAgent, func() error, error) {
			conn, err := net.Dial("unix", source.Socket)
			if err != nil {
				return nil, nil, err
			}
			return agent.NewClient(conn), conn.Close, nil
		}
		_, end, err := connect() // nobody there is found out now
		if err != nil {
			return nil, err
		}
		return connect, end()
	}
	keys, extended := agent.NewKeyring().(agent.ExtendedAgent)
	if !extended {
		return nil, errors.New("the library's agent can't sign with flags")
	}
	for i, key := range source.Keys {
		if err := keys.Add(agent.AddedKey{PrivateKey: key, Comment: filepath.Base(s.Sources[i])}); err != nil {
			return nil, err
		}
	}
	return func() (agent.ExtendedAgent, func() error, error) { return keys, func() error { return nil }, nil }, nil
}

// agentSocket is the socket's name in its directory.
const agentSocket = "agent"

// servedAgent listens on a socket until it is closed.
type servedAgent struct {
	listener net.Listener
	serving  sync.WaitGroup
	mu       sync.Mutex
	closed   bool
	open     map[net.Conn]bool
}

// serveAgent serves an agent on a socket in dir. Not the library's server: that one cuts every connection after two seconds,
// and its socket needs a name short enough for bind(2).
func serveAgent(dir, label string, connect func() (agent.ExtendedAgent, func() error, error)) (*servedAgent, error) {
	handle, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	// The label of sockets is the thread's, until it is set again.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := selinux.SetSocketLabel(label); err != nil {
		return nil, fmt.Errorf("labelling the agent's socket for SELinux: %w", err)
	}
	listener, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/%s", handle.Fd(), agentSocket))
	if err := errors.Join(err, selinux.SetSocketLabel("")); err != nil {
		return nil, fmt.Errorf("making the agent's socket: %w", err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // the name is another's by then; it goes with the directory
	s := &servedAgent{listener: listener, open: map[net.Conn]bool{}}
	s.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if s.note(conn) {
				s.serving.Go(func() { s.serve(conn, connect) })
			}
		}
	})
	return s, nil
}

// note remembers a connection, so that close can end it.
func (s *servedAgent) note(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return false
	}
	s.open[conn] = true
	return true
}

// serve answers on one connection. What goes wrong there is the step's to notice.
func (s *servedAgent) serve(conn net.Conn, connect func() (agent.ExtendedAgent, func() error, error)) {
	if keys, end, err := connect(); err == nil {
		_ = agent.ServeAgent(signOnly{keys}, conn)
		_ = end()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	conn.Close()
}

func (s *servedAgent) close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for conn := range s.open {
		conn.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
	return err
}

// signOnly is an agent that steps can't change.
type signOnly struct{ agent.ExtendedAgent }

var errSignsOnly = errors.New("this agent only lists keys and signs")

func (signOnly) Add(agent.AddedKey) error                 { return errSignsOnly }
func (signOnly) Remove(ssh.PublicKey) error               { return errSignsOnly }
func (signOnly) RemoveAll() error                         { return errSignsOnly }
func (signOnly) Lock([]byte) error                        { return errSignsOnly }
func (signOnly) Unlock([]byte) error                      { return errSignsOnly }
func (signOnly) Extension(string, []byte) ([]byte, error) { return nil, agent.ErrExtensionUnsupported }
