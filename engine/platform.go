package engine

import (
	"fmt"

	"go.podman.io/buildah/pkg/parse"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// splitPlatform splits "os/arch[/variant]".
func splitPlatform(platform string) (os, arch, variant string, err error) {
	os, arch, variant, err = parse.Platform(platform)
	if err != nil {
		return "", "", "", failure.New("platform", fmt.Sprintf("%q", platform), "%w", err).
			WithHint(`write os/arch or os/arch/variant, for example "linux/arm64".`)
	}
	return os, arch, variant, nil
}
