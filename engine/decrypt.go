package engine

import (
	"fmt"
	"path/filepath"
	"strings"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/containers/ocicrypt/helpers"
)

// decryption returns what reads images that are encrypted for one of the keys, nil without keys. A key is
// "FILE[:PASSWORD]", the password being the word itself, "pass=WORD", "file=FILE" or "fd=NUMBER", or "provider:NAME". Relative
// files start at the run's directory.
func (b *Builder) decryption(keys []string) (*encconfig.DecryptConfig, error) {
	var absolute []string
	for _, key := range keys {
		if !strings.HasPrefix(key, "provider:") {
			file, password, found := strings.Cut(key, ":")
			key = b.hostPath(file)
			if err := needFile("decryption_key", key); err != nil {
				return nil, err.WithHint("a key is \"FILE\", \"FILE:file=PASSWORDFILE\" or \"provider:NAME\".")
			}
			if name, isFile := strings.CutPrefix(password, "file="); isFile {
				password = "file=" + b.hostPath(name)
			}
			if found {
				key += ":" + password
			}
		}
		absolute = append(absolute, key)
	}
	if len(absolute) == 0 {
		return nil, nil
	}
	crypto, err := helpers.CreateCryptoConfig(nil, absolute)
	if err != nil {
		return nil, fmt.Errorf("reading decryption_key: %w", err) // it names files, never what is in them
	}
	return encconfig.CombineCryptoConfigs([]encconfig.CryptoConfig{crypto}).DecryptConfig, nil
}

// hostPath returns a path of the host's, made absolute from the run's directory.
func (b *Builder) hostPath(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(b.options.Dir, name)
}
