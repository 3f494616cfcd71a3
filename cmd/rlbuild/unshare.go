package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootless"
)

func unshareCommand(std streams, f *flags) *cobra.Command {
	var mounts []string
	command := &cobra.Command{
		Use:   "unshare [flags] [CMD [ARG ...]]",
		Short: "Run a command, or a shell, in the namespaces that scripts run in",
		Long: `unshare enters the user and mount namespace that scripts run in and runs a command there, the shell of $SHELL if
none is named. There you are root over your sub-IDs, and mounts are yours alone: they are gone when the command ends, and what is
written to their paths later is in no container. With --mount, working containers are mounted until the command ends, and what it
has left running ends with it.`,
		Example: `  rlbuild unshare cat /proc/self/uid_map
  rlbuild unshare --mount ROOT=debian-working-container sh -c 'ls "$ROOT"'
  rlbuild unshare rm -rf some-directory`,
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{os.Getenv("SHELL")}
				if args[0] == "" {
					args[0] = "/bin/sh"
				}
			}
			namespace, err := rootless.Enter(rootless.Options{Note: f.note(std)})
			if err != nil {
				return err
			}
			if len(mounts) > 0 {
				return f.withMounts(std, namespace.SingleID, mounts, args)
			}
			return become(args)
		},
	}
	command.Flags().StringSliceVarP(&mounts, "mount", "m", nil,
		"mount a working container while the command runs, and tell it where in the environment: `NAME=CONTAINER`, or CONTAINER")
	command.Flags().SetInterspersed(false)
	return command
}

// withMounts runs a command that finds working containers mounted at the paths that variables of its environment name.
func (f *flags) withMounts(std streams, singleID bool, mounts, args []string) (err error) {
	env := os.Environ() // before anything is changed for the libraries
	w, err := f.openWorkshop(context.Background(), std, "/", singleID, nil)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, w.close()) }()
	for _, mount := range mounts {
		variable, name, found := strings.Cut(mount, "=")
		if !found {
			name = mount
		}
		container, err := w.engine.Container(name)
		if err != nil {
			return err
		}
		root, err := container.Mount()
		if err != nil {
			return err
		}
		if variable != "" {
			env = append(env, variable+"="+root)
		}
	}
	return attend(args, env)
}

// attend runs a command and waits for it. Signals that the terminal sends reach it by themselves, others are passed on: what
// is mounted for it has to be released behind it.
func attend(args, env []string) error {
	command := exec.Command(args[0], args[1:]...)
	// The command ends with this process, which stands for its mounts: a shell that stayed would be ended by some later run. The
	// kernel means the thread by it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGHUP}
	command.Env, command.Stdin, command.Stdout, command.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := command.Start(); err != nil {
		return notStarted(args[0], err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-ended:
				return
			case s := <-signals:
				if s == syscall.SIGTERM || s == syscall.SIGHUP {
					_ = command.Process.Signal(s) // gone already is as good
				}
			}
		}
	}()
	var exit *exec.ExitError
	switch err := command.Wait(); {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return exitStatus(128 + int(status.Signal()))
		}
		return exitStatus(exit.ExitCode())
	default:
		return failure.New("unshare", args[0], "%w", err)
	}
}

// become replaces the process by a command.
func become(args []string) error {
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = syscall.Exec(path, args, os.Environ())
	}
	return notStarted(args[0], err)
}

// notStarted reports a command that didn't start. Statuses are a shell's: 127 for one that isn't there, 126 for one that
// can't be executed.
func notStarted(name string, err error) error {
	status := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		status = 127
	}
	report(os.Stderr, failure.New("unshare", name, "%w", err))
	return exitStatus(status)
}
