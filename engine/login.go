package engine

import (
	"context"
	"errors"
	"io"
	"strings"

	"go.podman.io/common/pkg/auth"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// LoginOptions say whose credentials are kept where, for which registry.
type LoginOptions struct {
	Registry       string // a registry, or a repository of one
	AuthFile       string // where credentials are kept; "" is REGISTRY_AUTH_FILE, or the user's own
	CompatAuthFile string // the same, in docker's format
	CertDir        string
	TLSVerify      *bool // as Registries.TLSVerify

	Username      string
	Password      string
	PasswordStdin bool // the password is what In has
	Show          bool // only write the user's name
	Verbose       bool

	All bool // Logout: of all registries, and Registry is ""

	In  io.Reader // where names and passwords are asked for
	Out io.Writer
}

// system is what the image library knows of it.
func (o LoginOptions) system() *types.SystemContext {
	host, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(o.Registry, "https://"), "http://"), "/")
	system := &types.SystemContext{DockerCertPath: o.CertDir, DockerRegistryUserAgent: "rlbuild"}
	switch {
	case o.TLSVerify != nil:
		system.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*o.TLSVerify)
	case reference.Name{Transport: reference.Registry, Rest: host + "/any"}.Loopback():
		system.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return system
}

// Login checks credentials with the registry and keeps them, as `buildah login` does. What isn't given is asked for.
func Login(ctx context.Context, o LoginOptions) error {
	err := auth.Login(ctx, o.system(), &auth.LoginOptions{
		AuthFile: o.AuthFile, DockerCompatAuthFile: o.CompatAuthFile, CertDir: o.CertDir,
		Username: o.Username, Password: o.Password, StdinPassword: o.PasswordStdin,
		GetLoginSet: o.Show, Verbose: o.Verbose, AcceptRepositories: true, Stdin: o.In, Stdout: o.Out,
	}, []string{o.Registry})
	var refused auth.ErrNewCredentialsInvalid
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return failure.New("login", o.Registry, "the registry refuses the user name or the password")
	case strings.Contains(err.Error(), "reading password: "), strings.Contains(err.Error(), "reading username: "):
		return failure.New("login", o.Registry, "%w", err).
			WithHint("give the name with --username and the password on standard input, with --password-stdin.")
	}
	return explain("login", o.Registry, err)
}

// Logout forgets the credentials of a registry, or of all, as `buildah logout` does.
func Logout(o LoginOptions) error {
	var registries []string
	if !o.All || o.Registry != "" {
		registries = []string{o.Registry}
	}
	if err := auth.Logout(o.system(), &auth.LogoutOptions{
		AuthFile: o.AuthFile, DockerCompatAuthFile: o.CompatAuthFile, All: o.All, AcceptRepositories: true, Stdout: o.Out,
	}, registries); err != nil {
		return explain("logout", o.Registry, err)
	}
	return nil
}
