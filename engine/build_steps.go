package engine

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/common/pkg/config"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// BuildSteps say how instructions are carried out.
type BuildSteps struct {
	Defaults     StepDefaults
	Users        UserOptions
	Runtime      string // as Options.Runtime; "" is the run's
	RuntimeFlags []string
	HooksDirs    []string

	Secrets []*SecretMount // what RUN --mount=type=secret finds by their IDs; where and whose it is, RUN says
	SSH     []*SSHMount    // and RUN --mount=type=ssh
	Mounts  []BuildMount   // for every RUN
	Volumes []string       // "HOST:CONTAINER[:options]", for every RUN

	Stdin         bool // RUN reads rlbuild's standard input
	Jobs          int  // stages at a time; 0 for all
	NoHostname    bool // RUN finds the image's own /etc/hostname
	NoHosts       bool // and /etc/hosts
	CompatVolumes bool // what RUN changes below a VOLUME is undone
	Remove        bool // containers of a build with layers, when it succeeded
	ForceRemove   bool // and when it failed
}

func (b *build) translateSteps() error {
	o, l := &b.options.Steps, &b.library
	if err := b.translateDefaults(); err != nil {
		return err
	}
	for _, flag := range o.RuntimeFlags {
		l.RuntimeArgs = append(l.RuntimeArgs, "--"+flag)
	}
	l.CommonBuildOpts.IdentityLabel = optional(b.options.Image.IdentityLabel)
	l.CommonBuildOpts.OmitHistory = b.options.Image.OmitHistory
	l.CommonBuildOpts.OCIHooksDir = o.HooksDirs
	l.CommonBuildOpts.NoHostname, l.CommonBuildOpts.NoHosts = o.NoHostname, o.NoHosts
	if err := b.translateMounts(); err != nil {
		return err
	}
	l.CommonBuildOpts.Volumes, l.TransientMounts = o.Volumes, o.Volumes // both, as buildah has it
	if o.Stdin {
		l.In = os.Stdin
	}
	if o.CompatVolumes {
		l.CompatVolumes = types.OptionalBoolTrue
	}
	l.RemoveIntermediateCtrs, l.ForceRmIntermediateCtrs = o.Remove, o.ForceRemove
	return nil
}

// translateDefaults says how RUN is executed.
func (b *build) translateDefaults() error {
	o, l := &b.options.Steps, &b.library
	isolation, err := b.isolation()
	if err != nil {
		return err
	}
	network := o.Defaults.Network
	if isolation.Network == "host" && network != "" && network != "host" && (network != "none" || isolation.Kind == "chroot") {
		return failure.New("build:", "network", "%q can't be had: %s", network, isolation.Shared).
			WithHint("with an OCI runtime, and pasta or netavark, steps have networks of their own; rlbuild doctor says what is missing.")
	}
	conf, err := config.Default()
	if err != nil {
		return fmt.Errorf("reading containers.conf: %w", err)
	}
	var defaults buildah.BuilderOptions
	if err := b.run.setDefaults(&defaults, conf, &o.Defaults); err != nil {
		return err
	}
	l.Isolation, l.Runtime, l.RuntimeArgs = isolation.kind, isolation.Runtime, slices.Clone(isolation.runtimeArgs)
	l.CommonBuildOpts, l.ConfigureNetwork = defaults.CommonBuildOpts, defaults.ConfigureNetwork
	var namespaces define.NamespaceOptions
	if isolation.Network == "host" {
		namespaces.AddOrReplace(define.NamespaceOption{Name: string(specs.NetworkNamespace), Host: true})
	}
	namespaces.AddOrReplace(defaults.NamespaceOptions...)
	users, ids, err := o.Users.namespace()
	if err != nil {
		return err
	}
	if err := b.run.letIn(ids); err != nil {
		return err
	}
	namespaces.AddOrReplace(users...)
	l.NamespaceOptions, l.IDMappingOptions, l.GroupAdd = namespaces, ids, o.Users.GroupAdd
	l.AddCapabilities, l.DropCapabilities = o.Defaults.CapAdd, o.Defaults.CapDrop
	l.Devices, l.CDIConfigDir = defaults.DeviceSpecs, defaults.CDIConfigDir
	l.NetworkInterface = b.run.network()
	return nil
}

func (b *build) isolation() (*Isolation, error) {
	o := &b.options.Steps
	if b.scan != nil && o.Defaults.Isolation == "" && o.Runtime == "" {
		return b.run.way("chroot", "") // the library would run the scanner with the first runtime in PATH, working or not
	}
	return b.run.builderIsolation(o.Defaults.Isolation, o.Runtime)
}

// builderIsolation chooses how the library's builder executes RUN: it doesn't know the sandbox. Where the run has chosen
// another way, that is taken, for it was tried.
func (b *Builder) builderIsolation(asked, runtime string) (*Isolation, error) {
	if asked == sandboxKind {
		return nil, failure.New("build:", "isolation", "the library's builder of Containerfiles can't use the sandbox").
			WithHint(`leave it out for the best that works, or write "oci", "rootless" or "chroot".`)
	}
	if asked == "" && runtime == "" {
		asked, runtime = b.options.Isolation, b.options.Runtime
		if asked == sandboxKind {
			asked = ""
		}
	}
	chosen, err := b.way(firstOf(asked, "oci"), runtime)
	if err != nil && asked == "" && runtime == "" {
		b.options.Info(fmt.Sprintf("passed over: %v", errors.Unwrap(err)))
		chosen, err = b.way("chroot", "")
	}
	if err != nil {
		return nil, err
	}
	b.options.Info("builds run steps with " + chosen.String() + ": the builder of Containerfiles doesn't know the sandbox")
	return chosen, nil
}
