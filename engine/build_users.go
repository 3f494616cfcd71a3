package engine

import (
	"github.com/spf13/pflag"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// UserNamespace says in which user namespace steps run. The zero value is the one that rlbuild is in.
type UserNamespace struct {
	Mode                    string   // "host", "container" (also "private"), "auto[:OPTIONS]" or "ns:PATH"; "" as the maps have it
	UIDMap, GIDMap          []string // "CONTAINER:HOST:LENGTH", the host's IDs being those in rlbuild's own namespace
	UIDMapUser, GIDMapGroup string   // names whose entries of /etc/subuid and /etc/subgid make the maps
}

// mapping returns it in the library's words. The only door to those is a set of flags.
func (u UserNamespace) mapping() (define.NamespaceOptions, *define.IDMappingOptions, error) {
	flags := pflag.NewFlagSet("build", pflag.ContinueOnError)
	for name, value := range map[string]string{
		"userns": u.Mode, "userns-uid-map-user": u.UIDMapUser, "userns-gid-map-group": u.GIDMapGroup,
	} {
		flags.String(name, "", "")
		if value == "" {
			continue
		}
		if err := flags.Set(name, value); err != nil {
			return nil, nil, err
		}
	}
	for name, values := range map[string][]string{"userns-uid-map": u.UIDMap, "userns-gid-map": u.GIDMap} {
		flags.StringSlice(name, nil, "")
		for _, value := range values {
			if err := flags.Set(name, value); err != nil {
				return nil, nil, err
			}
		}
	}
	namespaces, maps, err := parse.IDMappingOptionsFromFlagSet(flags, pflag.NewFlagSet("", pflag.ContinueOnError), flags.Lookup)
	if err != nil {
		return nil, nil, failure.New("build:", "userns", "%w", err).
			WithHint(`maps are written "CONTAINER:HOST:LENGTH", for example userns_uid_map = ["0:0:1000"].`)
	}
	return namespaces, maps, nil
}
