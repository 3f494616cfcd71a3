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

// Platform chooses among the images that a name stands for. The zero value is this machine's.
type Platform struct {
	Name              string // "os/arch[/variant]", instead of the others
	OS, Arch, Variant string // "" is this machine's
}

// in returns system for the platform.
func (p Platform) in(system *types.SystemContext) (*types.SystemContext, error) {
	if p == (Platform{}) {
		return system, nil
	}
	chosen := *system
	chosen.OSChoice, chosen.ArchitectureChoice, chosen.VariantChoice = p.OS, p.Arch, p.Variant
	if p.Name == "" {
		return &chosen, nil
	}
	if p.OS+p.Arch+p.Variant != "" {
		return nil, failure.New("", "platform", "can't be given together with os, arch or variant").
			WithHint("name all in one: platform = \"os/arch/variant\"")
	}
	var err error
	chosen.OSChoice, chosen.ArchitectureChoice, chosen.VariantChoice, err = splitPlatform(p.Name)
	return &chosen, err
}
