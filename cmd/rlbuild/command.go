package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"go.podman.io/buildah/define"

	"github.com/rlbuild/rlbuild/builtins"
	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/script"
)

// streams are where a run prints: standard output belongs to the script.
type streams struct{ out, err io.Writer }

func newStreams() streams { return streams{os.Stdout, os.Stderr} }

// flags are the command line's options. Their names are buildah's where it has one.
type flags struct {
	root, runRoot, driver string
	driverOptions         []string
	imageStore            string
	transientStore        bool
	isolation, runtime    string
	commitMethod          string
	authFile, certDir     string
	tlsVerify             bool
	signaturePolicy       string
	registriesConf        string
	registriesConfDir     string
	shortNames            string
	registryTimeout       time.Duration
	inspect               bool // set by doctor alone: what is wrong is what it is after
	logLevel              string
	code                  string
	keep, quiet           bool
	limits                limitFlags

	changed func(name string) bool
}

// registryTimeout is how long a registry may be silent, by default. One that copies a large blob to where it is kept, before it says
// that it has it, takes a minute or two; gateways give up after one. Kubernetes' nodes wait for as long as this when they pull.
const registryTimeout = 5 * time.Minute

// execute runs the command line and is the only place that prints final errors.
func execute(std streams, args []string) int {
	command := rootCommand(std)
	command.SetArgs(args)
	command.SetOut(std.out)
	command.SetErr(std.err)
	err := command.Execute()
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	report(std.err, err)
	return failure.Status(err)
}

// exitStatus ends the process without a message.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func rootCommand(std streams) *cobra.Command {
	f := &flags{}
	command := &cobra.Command{
		Use:   "rlbuild [flags] SCRIPT [NAME=VALUE ...]",
		Short: "Run a Starlark script that builds container images without root",
		Long: `rlbuild runs a Starlark script that builds container images, as an ordinary user.

SCRIPT is a file, or "-" for standard input; -c runs a line. "rlbuild SCRIPT --help" shows a script's own text and
arguments, "rlbuild help BUILTIN" the reference of one of these:

` + builtins.Summary(),
		Example: `  rlbuild examples/hello/hello.star
  rlbuild -c 'print(commit(from_("scratch"), "localhost/empty").id)'`,
		Args:                  cobra.ArbitraryArgs,
		SilenceErrors:         true,
		SilenceUsage:          true,
		DisableFlagsInUseLine: true,
		PersistentPreRunE: func(command *cobra.Command, _ []string) error {
			f.changed = command.Flags().Changed
			return f.check()
		},
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 && !f.changed("c") {
				fmt.Fprint(std.err, command.UsageString()) // standard output is for scripts
				return exitStatus(2)
			}
			return runScript(std, f, args)
		},
	}
	f.register(command)
	command.SetFlagErrorFunc(flagError)
	command.SetHelpCommand(helpCommand())
	command.AddCommand(unshareCommand(std, f), loginCommand(std, f), logoutCommand(std, f), doctorCommand(std, f),
		pruneCommand(std, f), versionCommand())
	return command
}

func (f *flags) register(command *cobra.Command) {
	p := command.PersistentFlags()
	p.StringVar(&f.root, "root", "", "`directory` of the store; the one of storage.conf")
	p.StringVar(&f.runRoot, "runroot", "", "`directory` of the store's state until the next boot")
	p.StringVar(&f.driver, "storage-driver", "", "storage `driver`: overlay or vfs; the best that works")
	p.StringArrayVar(&f.driverOptions, "storage-opt", nil, "`option` of the storage driver, NAME=VALUE (repeatable)")
	p.StringVar(&f.imageStore, "imagestore", "", "`directory` that images are kept in, instead of the store's")
	p.BoolVar(&f.transientStore, "transient-store", false, "forget containers at the next boot")
	p.StringVar(&f.isolation, "isolation", "", "the `way` steps run: sandbox, oci, rootless or chroot; the best that works")
	p.StringVar(&f.runtime, "runtime", "", "OCI `runtime` for steps; the first of crun and runc that works")
	p.StringVar(&f.commitMethod, "commit-method", "", "the `way` images are committed: fast or library; fast where it can be")
	p.StringVar(&f.authFile, "authfile", "", "`file` with registry credentials")
	p.StringVar(&f.certDir, "cert-dir", "", "`directory` with certificates for registries")
	p.BoolVar(&f.tlsVerify, "tls-verify", true, "require HTTPS and check certificates; without the flag, registries on the loopback interface are exempt")
	p.Lookup("tls-verify").DefValue = "" // neither value is the default, see there
	p.StringVar(&f.signaturePolicy, "signature-policy", "", "`file` with the signature policy")
	p.StringVar(&f.registriesConf, "registries-conf", "", "`file` to use as registries.conf")
	p.StringVar(&f.registriesConfDir, "registries-conf-dir", "", "`directory` to use as registries.conf.d")
	p.StringVar(&f.shortNames, "short-name-alias-conf", "", "`file` with the user's own short names for images")
	p.DurationVar(&f.registryTimeout, "registry-timeout", registryTimeout, "give up on a registry, or a server of files, when no byte moves to or from it for a `time`; 0 for no limit")
	p.StringVar(&f.logLevel, "log-level", "warn", "what is said besides the script's own output: error, warn, info, debug or trace")
	p.BoolVar(&f.keep, "keep", false, "keep working containers for a look, and say their names")
	p.BoolVarP(&f.quiet, "quiet", "q", false, "don't show steps and their output")
	f.limits.register(command.Flags())
	command.Flags().StringVarP(&f.code, "c", "c", "", "run `CODE` instead of a script")
	command.Flags().SetInterspersed(false)
}

// check says what is wrong with the flags and makes their paths absolute. It takes buildah's environment variables
// where a flag wasn't given.
func (f *flags) check() error {
	for _, variable := range []struct {
		name   string
		target *string
	}{{"BUILDAH_ISOLATION", &f.isolation}, {"BUILDAH_RUNTIME", &f.runtime}, {"REGISTRY_AUTH_FILE", &f.authFile}} {
		if *variable.target == "" {
			*variable.target = os.Getenv(variable.name)
		}
	}
	if !f.changed("isolation") && f.isolation == "rootless" {
		f.isolation = "" // buildah unshare sets it for all that it starts: no wish of the user's
	}
	if f.isolation != "" && !slices.Contains(engine.Isolations(), f.isolation) {
		return failure.New("--isolation", fmt.Sprintf("%q", f.isolation), "is none of %s",
			strings.Join(engine.Isolations(), ", ")).WithKind(failure.Usage)
	}
	if f.commitMethod != "" && !slices.Contains(engine.CommitMethods(), f.commitMethod) {
		return failure.New("--commit-method", fmt.Sprintf("%q", f.commitMethod), "is none of %s",
			strings.Join(engine.CommitMethods(), ", ")).WithKind(failure.Usage)
	}
	if f.registryTimeout < 0 {
		return failure.New("--registry-timeout", f.registryTimeout.String(), "is less than nothing").WithKind(failure.Usage)
	}
	for _, path := range []*string{&f.root, &f.runRoot, &f.imageStore, &f.authFile, &f.certDir, &f.signaturePolicy,
		&f.registriesConf, &f.registriesConfDir, &f.shortNames} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return failure.New("path", *path, "%w", err).WithKind(failure.Usage)
		}
		*path = absolute
	}
	levels := []string{"error", "warn", "info", "debug", "trace"}
	level, err := logrus.ParseLevel(f.logLevel)
	if err != nil || level < logrus.ErrorLevel {
		return failure.New("--log-level", fmt.Sprintf("%q", f.logLevel), "is none of %s", strings.Join(levels, ", ")).
			WithKind(failure.Usage)
	}
	if level >= logrus.DebugLevel {
		logrus.SetLevel(level)
		logrus.SetOutput(plain{os.Stderr}) // on a terminal itself it would write what it is given as it is
	} else {
		// The libraries' own lines are for those who debug them; what matters to users comes as errors and notes.
		logrus.SetLevel(logrus.PanicLevel)
	}
	return nil
}

// says reports whether lines of that level are wanted.
func (f *flags) says(level logrus.Level) bool {
	wanted, err := logrus.ParseLevel(f.logLevel)
	return err == nil && wanted >= level
}

// flagError adds a near name to an unknown flag.
func flagError(command *cobra.Command, err error) error {
	e := failure.New("", "", "%w", err).WithKind(failure.Usage)
	name, found := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !found {
		return e.WithHint("rlbuild --help lists the flags.")
	}
	var names []string
	for _, field := range strings.Fields(command.Flags().FlagUsages()) {
		if flag, ok := strings.CutPrefix(field, "--"); ok {
			names = append(names, flag)
		}
	}
	if near := script.Nearest(name, names); near != "" {
		return e.WithHint("did you mean --%s?", near)
	}
	return e.WithHint("rlbuild --help lists the flags.")
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [BUILTIN | COMMAND]",
		Short: "Show the reference of a builtin, or of a command",
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Root().Help()
			}
			if text := builtins.Help(args[0]); text != "" {
				fmt.Fprint(command.OutOrStdout(), text)
				return nil
			}
			for _, sub := range command.Root().Commands() {
				if sub.Name() == args[0] {
					return sub.Help()
				}
			}
			e := failure.New("help", args[0], "there is no builtin or command of that name").WithKind(failure.Usage)
			if near := script.Nearest(args[0], builtins.Names()); near != "" {
				return e.WithHint("did you mean %s?", near)
			}
			return e.WithHint("rlbuild help lists the builtins.")
		},
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  cobra.NoArgs,
		Run: func(command *cobra.Command, _ []string) {
			fmt.Fprintf(command.OutOrStdout(), "rlbuild %s (buildah %s)\n", version, define.Version)
		},
	}
}
