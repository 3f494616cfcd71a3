package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/configfile"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// acceptAnything is the policy that Debian's and Fedora's packages install: signatures are checked for those registries
// that the user lists, and there is no list on a machine without a policy file.
const acceptAnything = `{"default":[{"type":"insecureAcceptAnything"}]}`

// systemContext is what the image library knows of this run.
func systemContext(o Options) (*types.SystemContext, error) {
	r := o.Registries
	sys := &types.SystemContext{
		AuthFilePath:                r.AuthFile,
		DockerCertPath:              r.CertDir,
		SignaturePolicyPath:         r.SignaturePolicy,
		SystemRegistriesConfPath:    r.Conf,
		SystemRegistriesConfDirPath: r.ConfDir,
		UserShortNameAliasConfPath:  r.ShortNames,
		BigFilesTemporaryDir:        o.TempDir,
		DockerRegistryUserAgent:     "rlbuild",
	}
	if r.TLSVerify != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*r.TLSVerify)
		sys.OCIInsecureSkipTLSVerify = !*r.TLSVerify
	}
	for what, path := range map[string]string{"--authfile": r.AuthFile, "--signature-policy": r.SignaturePolicy,
		"--registries-conf": r.Conf, "--cert-dir": r.CertDir} {
		if path == "" {
			continue
		}
		if err := needFile(what, path); err != nil {
			return nil, err.WithKind(failure.Usage).WithHint("give %s the path of an existing file.", what)
		}
	}
	switch _, err := signature.DefaultPolicy(sys); {
	case err == nil:
	case errors.Is(err, configfile.ErrConfigFileNotFound), o.Inspect:
		path := filepath.Join(o.TempDir, "policy.json")
		if err := os.WriteFile(path, []byte(acceptAnything), 0o600); err != nil {
			return nil, fmt.Errorf("writing the default signature policy: %w", err)
		}
		sys.SignaturePolicyPath = path
	default:
		if e := explainFile("reading", "the signature policy", err); e != nil {
			return nil, e.WithKind(failure.Usage)
		}
		return nil, failure.New("reading", "the signature policy", "%w", err).WithKind(failure.Usage).
			WithHint("mend the file, or name another with --signature-policy.")
	}
	return sys, nil
}

// needFile fails if there is nothing at the path that an option names.
func needFile(option, path string) *failure.Error {
	if _, err := os.Stat(path); err != nil {
		return failure.New("reading", option, "%w", err)
	}
	return nil
}
