package engine

import (
	"fmt"

	"go.podman.io/buildah/pkg/parse"
	"go.podman.io/image/v5/types"

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

// withPlatform returns system for the platform "os/arch[/variant]", or as it is for "".
func withPlatform(system *types.SystemContext, platform string) (*types.SystemContext, error) {
	if platform == "" {
		return system, nil
	}
	os, arch, variant, err := splitPlatform(platform)
	if err != nil {
		return nil, err
	}
	chosen := *system
	chosen.OSChoice, chosen.ArchitectureChoice, chosen.VariantChoice = os, arch, variant
	return &chosen, nil
}
