package engine

import (
	"strings"
	"testing"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// TestGPGMissing has the program named with its package, also where the library would encrypt for nobody instead.
func TestGPGMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	b := &Builder{}
	for _, p := range []Protection{{SignBy: "me@example.com"}, {EncryptionKeys: []string{"pgp:me@example.com"}}} {
		_, err := b.protector(t.Context(), p, "docker")
		if err == nil || !strings.Contains(err.Error(), "gpg: no such program") || !strings.Contains(failure.HintOf(err), "package gpg") {
			t.Errorf("%+v: %v; hint: %s", p, err, failure.HintOf(err))
		}
	}
}
