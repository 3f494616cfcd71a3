package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
)

// HostOptions say how a command runs on the host, inside the namespaces.
type HostOptions struct {
	Process
	Dir string // working directory; "" is the run's
}

// stopGrace is how long an interrupted host command has to end by itself.
const stopGrace = 500 * time.Millisecond

// Host runs a command on the host, as root of the user namespace, and waits for it. As with Container.Run, a command
// that fails is a Result. What it leaves running in the background goes on until the run ends.
func (b *Builder) Host(ctx context.Context, o HostOptions) (*Result, error) {
	argv := o.Args
	title := "host " + CommandLine(argv)
	if len(argv) == 0 {
		argv, title = []string{"/bin/sh", "-c", o.Shell}, "host "+oneLine(o.Shell)
	}
	if err := b.tidy(); err != nil {
		return nil, err
	}
	clock := newDeadline(ctx, o.Timeout, nil)
	cmd := exec.CommandContext(clock.ctx, argv[0], argv[1:]...)
	if cmd.Dir = o.Dir; cmd.Dir == "" {
		cmd.Dir = b.options.Dir
	}
	cmd.Env = append(append([]string{}, b.options.Env...), o.Env...)
	endGroup(cmd, syscall.SIGTERM)
	streams, err := b.hostStreams(cmd, title, o.Process)
	if err != nil {
		clock.stop()
		return nil, err
	}
	before := descendants(os.Getpid())
	runtime.LockOSThread() // the command ends with the thread that starts it
	err = cmd.Run()
	runtime.UnlockOSThread()
	late := clock.stop()
	if ctx.Err() != nil || late {
		killSince(before)
	}
	result, _, inputErr := streams.finish(title, argv)
	result.look = func() (*scene, error) { return b.hostScene(o) }
	if cut, err := result.cutShort(ctx, o.Process, late, inputErr); err != nil {
		return nil, err
	} else if cut {
		return result, nil
	}
	result.ended(o.Process, 0)
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		result.Code = exitCode(exit)
	default:
		return nil, b.notStarted(result, o, cmd, err)
	}
	return result, nil
}

// endGroup sends the signal to a command and those that it started when its context ends, and doesn't wait for those of them
// that go on.
func endGroup(cmd *exec.Cmd, number syscall.Signal) {
	// A group of its own, so that all of a pipeline can be ended; and nobody outlives rlbuild.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, number) }
	cmd.WaitDelay = stopGrace
}

// hostStreams gives a host command its streams.
func (b *Builder) hostStreams(cmd *exec.Cmd, title string, o Process) (*streams, error) {
	if !o.Terminal {
		streams, err := b.startStreams(title, streamOptions{input: o.Stdin})
		if err == nil {
			cmd.Stdin, cmd.Stdout, cmd.Stderr = streams.stdin, streams.stdout, streams.stderr
		}
		return streams, err
	}
	master, slave, err := openTerminal(b.options.Terminal.size())
	if err != nil {
		return nil, explain("", title, err)
	}
	streams, err := b.startStreams(title, streamOptions{input: o.Stdin, terminal: ours})
	if err != nil {
		return nil, errors.Join(err, master.Close(), slave.Close())
	}
	streams.stdin = slave // closed with the command's ends of pipes
	streams.attach(master)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = false, true, true // a session leads its group
	return streams, nil
}

// notStarted explains why a host command could not be started.
func (b *Builder) notStarted(result *Result, o HostOptions, cmd *exec.Cmd, err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		result.notRun = syscall.ENOENT
	case errors.As(err, &path) && path.Op == "chdir":
		return ExplainPath("", result.Title+": working directory "+cmd.Dir, false, path.Err)
	case errors.As(err, &path):
		// The kernel doesn't tell a directory that can't be entered from a program that can't be executed.
		if k := pathCause(cmd.Dir, reach.Search, path.Err); k != nil {
			return k.explain(result.Title+": working directory", cmd.Dir, err)
		}
		errors.As(path.Err, &result.notRun)
	}
	if result.notRun == 0 {
		return failure.New("", result.Title, "%w", fmt.Errorf("could not be started: %w", err))
	}
	return result.Err()
}
