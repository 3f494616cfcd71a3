// Package gpg signs with the user's GPG keys, by way of the gpg program: without gpgme, which would have to be there
// wherever rlbuild is to start, the image library can't. GNUPGHOME is honoured, as by any gpg.
package gpg

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"go.podman.io/image/v5/signature"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Key is one of the user's keys.
type Key struct {
	ctx        context.Context
	env        []string
	program    string
	id         string
	passphrase string // "" leaves it to gpg's agent
	endAgent   bool   // whether gpg had to start the agent, which would stay
}

var _ signature.SigningMechanism = (*Key)(nil)

// Find returns the path of the gpg program.
func Find() (string, error) {
	program, err := exec.LookPath("gpg")
	if err != nil {
		return "", failure.New("looking for", "gpg", "no such program in PATH").WithKind(failure.Machine).
			WithHint("install it; on Debian and Ubuntu it is in the package gpg, on Fedora in gnupg2.")
	}
	return program, nil
}

// Open returns the key of that fingerprint, which was seen to sign: an image that is written and then can't be signed helps
// nobody. The program runs with the environment env and ends with ctx. Close the key.
func Open(ctx context.Context, id, passphrase string, env []string) (*Key, error) {
	program, err := Find()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(id, "-") || strings.ContainsAny(id, "\n\x00") {
		return nil, failure.New("", "sign_by", "%q can't be a key's name", id).
			WithHint("gpg --list-secret-keys shows the fingerprints of yours.")
	}
	k := &Key{ctx: ctx, env: env, program: program, id: id, passphrase: passphrase}
	k.endAgent = !k.agentRuns()
	if _, err := k.Sign([]byte("a trial"), k.id); err != nil {
		_ = k.Close() // that the key can't sign is what counts
		return nil, err
	}
	return k, nil
}

// ID returns the fingerprint.
func (k *Key) ID() string { return k.id }

// SupportsSigning returns nil.
func (k *Key) SupportsSigning() error { return nil }

// Sign returns an OpenPGP message that holds the input and its signature.
func (k *Key) Sign(input []byte, keyIdentity string) ([]byte, error) {
	signed, err := k.run(input, "--sign", "--local-user", keyIdentity, "--output", "-")
	if err != nil {
		return nil, failure.New("signing with", keyIdentity, "%w", err).
			WithHint("gpg --list-secret-keys shows your keys, and GNUPGHOME says where they are; a key's passphrase is taken from the " +
				"first line of sign_passphrase_file, else gpg's agent has to know it.")
	}
	return signed, nil
}

// Verify isn't offered: the policy that reads signatures has the library's means.
func (k *Key) Verify([]byte) ([]byte, string, error) { return nil, "", errors.ErrUnsupported }

// UntrustedSignatureContents isn't offered.
func (k *Key) UntrustedSignatureContents([]byte) ([]byte, string, error) {
	return nil, "", errors.ErrUnsupported
}

// Close ends the agent, if gpg started it for this key.
func (k *Key) Close() error {
	if !k.endAgent || !k.agentRuns() {
		return nil
	}
	cmd := exec.Command("gpgconf", "--kill", "gpg-agent")
	cmd.Env = k.env
	return cmd.Run()
}

// run runs the program with input, and returns what it prints. The passphrase goes through a pipe: arguments and
// environment can be read by others.
func (k *Key) run(input []byte, args ...string) ([]byte, error) {
	common := []string{"--batch", "--no-tty", "--yes"}
	var secret io.Reader
	if k.passphrase != "" {
		common = append(common, "--pinentry-mode=loopback", "--passphrase-fd=3")
		secret = strings.NewReader(k.passphrase + "\n")
	}
	cmd := exec.CommandContext(k.ctx, k.program, append(common, args...)...)
	cmd.Env = k.env
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if secret != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		cmd.ExtraFiles = []*os.File{r}
		go func() {
			_, _ = io.Copy(w, secret) // gpg may end without reading it, which is its own error
			w.Close()
		}()
	}
	if err := cmd.Run(); err != nil {
		return nil, gpgError(err, stderr.String())
	}
	return stdout.Bytes(), nil
}

// gpgError is the last thing that gpg said.
func gpgError(err error, said string) error {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		return err
	}
	return errors.New(last)
}

// agentRuns reports whether somebody listens where gpg looks for its agent.
func (k *Key) agentRuns() bool {
	cmd := exec.Command("gpgconf", "--list-dirs", "agent-socket")
	cmd.Env = k.env
	text, err := cmd.Output()
	if err != nil {
		return true // it can't be known, so what is there stays
	}
	socket, err := url.PathUnescape(strings.TrimSpace(string(text))) // gpgconf escapes as URLs do
	if err != nil {
		return true
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
