package engine

import (
	"fmt"
	"strings"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/containers/ocicrypt/helpers"
)

// decryption returns what reads images that are encrypted for one of the keys, nil without keys. A key is
// "FILE[:PASSWORD]", the password being the word itself, "pass=WORD", "file=FILE" or "fd=NUMBER", or "provider:NAME".
func decryption(keys []string) (*encconfig.DecryptConfig, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	for _, key := range keys {
		if strings.HasPrefix(key, "provider:") {
			continue
		}
		file, _, _ := strings.Cut(key, ":")
		if err := needFile("decryption_key", file); err != nil {
			return nil, err.WithHint("a key is \"FILE\", \"FILE:file=PASSWORDFILE\" or \"provider:NAME\".")
		}
	}
	crypto, err := helpers.CreateCryptoConfig(nil, keys)
	if err != nil {
		return nil, fmt.Errorf("reading decryption_key: %w", err) // it names files, never what is in them
	}
	return encconfig.CombineCryptoConfigs([]encconfig.CryptoConfig{crypto}).DecryptConfig, nil
}
