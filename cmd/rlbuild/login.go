package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootless"
	"github.com/rlbuild/rlbuild/engine/silence"
)

func loginCommand(std streams, f *flags) *cobra.Command {
	o := engine.LoginOptions{In: os.Stdin, Out: std.out}
	command := &cobra.Command{
		Use:   "login [flags] REGISTRY",
		Short: "Keep credentials for a registry",
		Long: `login checks a user name and a password with a registry, or a repository of one, and keeps them where scripts, podman and
buildah find them: in the file that --authfile or REGISTRY_AUTH_FILE names, else in the user's own, gone with the next boot.
What isn't given is asked for. A password on the command line can be seen by others who look at the list of processes;
--password-stdin hides it.`,
		Example: `  rlbuild login registry.example.org
  pass show registry | rlbuild login --username alice --password-stdin registry.example.org
  rlbuild login --get-login registry.example.org`,
		Args:                  oneRegistry,
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := f.access(std, &o, args); err != nil {
				return err
			}
			return engine.Login(silence.Watch(context.Background(), f.registryTimeout), o)
		},
	}
	p := command.Flags()
	p.StringVarP(&o.Username, "username", "u", "", "`name` of the user")
	p.StringVarP(&o.Password, "password", "p", "", "`password` of the user")
	p.BoolVar(&o.PasswordStdin, "password-stdin", false, "read the password from standard input")
	p.BoolVar(&o.Show, "get-login", false, "show whose credentials there are, and do nothing else")
	p.BoolVarP(&o.Verbose, "verbose", "v", false, "say where the credentials are kept")
	compatAuthFile(command, &o)
	return command
}

func logoutCommand(std streams, f *flags) *cobra.Command {
	o := engine.LoginOptions{Out: std.out}
	command := &cobra.Command{
		Use:   "logout [flags] REGISTRY",
		Short: "Forget the credentials for a registry",
		Example: `  rlbuild logout registry.example.org
  rlbuild logout --all`,
		DisableFlagsInUseLine: true,
		Args: func(command *cobra.Command, args []string) error {
			if o.All && len(args) == 0 {
				return nil
			} else if o.All {
				return failure.New("", command.Name(), "--all takes no registry").WithKind(failure.Usage)
			}
			return oneRegistry(command, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := f.access(std, &o, args); err != nil {
				return err
			}
			return engine.Logout(o)
		},
	}
	command.Flags().BoolVarP(&o.All, "all", "a", false, "forget those of all registries in the file")
	compatAuthFile(command, &o)
	return command
}

func compatAuthFile(command *cobra.Command, o *engine.LoginOptions) {
	command.Flags().StringVar(&o.CompatAuthFile, "compat-auth-file", "", "keep the credentials in this `file` of docker's format")
}

func oneRegistry(command *cobra.Command, args []string) error {
	if len(args) == 1 && args[0] != "" {
		return nil
	}
	return failure.New("", command.Name(), "takes one registry, got %d", len(args)).WithKind(failure.Usage).
		WithHint("for example: rlbuild %s registry.example.org", command.Name())
}

// access enters the namespaces, where files are the user's whoever calls, and completes what the flags say.
func (f *flags) access(std streams, o *engine.LoginOptions, args []string) error {
	if len(args) > 0 {
		o.Registry = args[0]
	}
	if f.changed("authfile") { // from the environment the library takes it itself, unless a compatible file is named
		o.AuthFile = f.authFile
	}
	o.CertDir = f.certDir
	if f.changed("tls-verify") {
		o.TLSVerify = &f.tlsVerify
	}
	_, err := rootless.Enter(rootless.Options{Note: f.note(std)})
	return err
}
