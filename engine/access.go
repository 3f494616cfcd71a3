package engine

import (
	"strings"
	"time"

	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// Access says how one verb reaches registries, where that differs from the run's Registries. The zero value differs in
// nothing.
type Access struct {
	Credentials string         // "user:password", instead of those of the auth files
	AuthFile    string         // a host path
	CertDir     string         // a host path
	TLSVerify   *bool          // as Registries.TLSVerify
	Retries     *int           // how often a registry that fails is asked again; nil means 3
	RetryDelay  *time.Duration // after how long; nil means 2 s
}

// How often a registry that fails is asked again, and after how long; buildah's own defaults.
const (
	retries    = 3
	retryDelay = 2 * time.Second
)

func (a Access) retries() int {
	if a.Retries == nil {
		return retries
	}
	return *a.Retries
}

func (a Access) retryDelay() time.Duration {
	if a.RetryDelay == nil {
		return retryDelay
	}
	return *a.RetryDelay
}

// systemFor is the run's context for one image name: a registry on the loopback interface may be reached over plain HTTP
// unless the user said otherwise, as Docker has it, since nobody can listen in on it.
func (b *Builder) systemFor(name reference.Name, a Access) (*types.SystemContext, error) {
	sys, err := b.systemWith(a)
	if err != nil {
		return nil, err
	}
	if a.TLSVerify == nil && b.options.Registries.TLSVerify == nil && name.Loopback() {
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return sys, nil
}

// systemWith is the run's context with what the verb says, for names that are only found on the way.
func (b *Builder) systemWith(a Access) (*types.SystemContext, error) {
	sys := *b.system
	for _, file := range []struct {
		option, path string
		target       *string
	}{{"authfile", a.AuthFile, &sys.AuthFilePath}, {"cert_dir", a.CertDir, &sys.DockerCertPath}} {
		if file.path == "" {
			continue
		}
		if err := needFile(file.option, file.path); err != nil {
			return nil, err.WithHint("give %s the path of an existing one.", file.option)
		}
		*file.target = file.path
	}
	if a.TLSVerify != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*a.TLSVerify)
		sys.OCIInsecureSkipTLSVerify = !*a.TLSVerify
	}
	if a.Credentials != "" {
		user, password, found := strings.Cut(a.Credentials, ":")
		if !found || user == "" {
			// What was given may be a password, and doesn't belong into a message.
			return nil, failure.New("", "creds", `is not "user:password"`)
		}
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: user, Password: password}
	}
	return &sys, nil
}
