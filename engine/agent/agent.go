// Package agent serves an ssh agent that lists keys and signs, and does nothing else for those who use it.
package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/opencontainers/selinux/go-selinux"
	"go.podman.io/buildah/pkg/sshagent"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Keys opens the agent behind a served one, for each connection anew, and says how to let go of it.
type Keys func() (agent.ExtendedAgent, func() error, error)

// Open returns the keys of an agent's socket, or those in files that have no passphrase.
func Open(sources []string) (Keys, error) {
	source, err := sshagent.NewSource(sources)
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
		if err := keys.Add(agent.AddedKey{PrivateKey: key, Comment: filepath.Base(sources[i])}); err != nil {
			return nil, err
		}
	}
	return func() (agent.ExtendedAgent, func() error, error) { return keys, func() error { return nil }, nil }, nil
}

// Socket is the socket's name in its directory.
const Socket = "agent"

// Served listens on a socket until it is closed.
type Served struct {
	listener net.Listener
	serving  sync.WaitGroup
	mu       sync.Mutex
	closed   bool
	open     map[net.Conn]bool
}

// Serve serves an agent on a socket in dir. Not the library's server: that one cuts every connection after two seconds,
// and its socket needs a name short enough for bind(2).
func Serve(dir, label string, connect Keys) (*Served, error) {
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
	listener, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/%s", handle.Fd(), Socket))
	if err := errors.Join(err, selinux.SetSocketLabel("")); err != nil {
		return nil, fmt.Errorf("making the agent's socket: %w", err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // the name is another's by then; it goes with the directory
	s := &Served{listener: listener, open: map[net.Conn]bool{}}
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

// note remembers a connection, so that Close can end it.
func (s *Served) note(conn net.Conn) bool {
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
func (s *Served) serve(conn net.Conn, connect Keys) {
	if keys, end, err := connect(); err == nil {
		_ = agent.ServeAgent(signOnly{keys}, conn)
		_ = end()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	conn.Close()
}

// Close ends the listening and all connections.
func (s *Served) Close() error {
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
