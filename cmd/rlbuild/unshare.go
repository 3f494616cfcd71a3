package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootless"
)

func unshareCommand(std streams, f *flags) *cobra.Command {
	command := &cobra.Command{
		Use:   "unshare [CMD [ARG ...]]",
		Short: "Run a command, or a shell, in the namespaces that scripts run in",
		Long: `unshare enters the user and mount namespace that scripts run in and runs a command there, the shell of $SHELL if
none is named. There you are root over your sub-IDs, and mounts are yours alone.`,
		Example: `  rlbuild unshare cat /proc/self/uid_map
  rlbuild unshare rm -rf some-directory`,
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{os.Getenv("SHELL")}
				if args[0] == "" {
					args[0] = "/bin/sh"
				}
			}
			if _, err := rootless.Enter(rootless.Options{Note: f.note(std)}); err != nil {
				return err
			}
			return become(args)
		},
	}
	command.Flags().SetInterspersed(false)
	return command
}

// become replaces the process by a command. Statuses are a shell's: 127 for one that isn't there, 126 for one that can't
// be executed.
func become(args []string) error {
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = syscall.Exec(path, args, os.Environ())
	}
	status := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		status = 127
	}
	report(os.Stderr, failure.New("unshare", args[0], "%w", err))
	return exitStatus(status)
}
