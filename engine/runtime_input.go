package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/filesystem"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// runtimeReading returns a program that does what an OCI runtime does, and gives the containers it creates this pipe for
// their standard input. The library's helper would stand in between: it holds in memory what the step hasn't read yet, and
// stops to pass on the step's output when the step doesn't read at all. The pipe has to stay open while the step runs.
func (b *Builder) runtimeReading(runtime string, pipe *os.File) (string, error) {
	if on, err := filesystem.Of(b.options.TempDir); err == nil && on.Has(unix.ST_NOEXEC) {
		return "", trouble.NoExecTemp.Explain("stdin", "", nil, trouble.Facts{"dir": b.options.TempDir})
	}
	file, err := os.CreateTemp(b.options.TempDir, filepath.Base(runtime)+"-")
	if err != nil {
		return "", fmt.Errorf("passing on the step's standard input: %w", err)
	}
	defer file.Close()
	quoted := "'" + strings.ReplaceAll(runtime, "'", `'\''`) + "'"
	// The library's own arguments come first, and none of them is "create".
	_, err = fmt.Fprintf(file, "#!/bin/sh\nfor word; do\n\tif [ \"$word\" = create ]; then\n\t\texec %s \"$@\" < /proc/%d/fd/%d\n\tfi\ndone\nexec %s \"$@\"\n",
		quoted, os.Getpid(), pipe.Fd(), quoted)
	if err == nil {
		err = file.Chmod(0o700)
	}
	if err != nil {
		return "", fmt.Errorf("passing on the step's standard input: %w", err)
	}
	return file.Name(), nil
}

// setInput tells the library where a step's standard input comes from. Call done after the step.
func (b *Builder) setInput(to *buildah.RunOptions, o RunOptions, s *streams) (done func(), err error) {
	to.Stdin = s.stdin
	if o.Terminal && s.user == nil {
		return hideTerminal()
	}
	if o.Stdin == nil || o.Terminal || to.Isolation == define.IsolationChroot {
		return func() {}, nil
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("opening the library's standard input: %w", err)
	}
	if to.Runtime, err = b.runtimeReading(to.Runtime, s.stdin); err != nil {
		return nil, errors.Join(err, null.Close())
	}
	to.Stdin = null
	return func() { null.Close(); os.Remove(to.Runtime) }, nil // at the latest it goes with TempDir
}

// hideTerminal puts nothing in the place of this process's standard input until the returned function is called. The
// library makes that raw for every step with a terminal, also for one at which the user can't type: his Ctrl-C would get lost.
func hideTerminal() (restore func(), err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	kept, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("keeping the standard input: %w", err)
	}
	if err := unix.Dup3(int(null.Fd()), 0, 0); err != nil {
		unix.Close(kept)
		return nil, fmt.Errorf("hiding the standard input: %w", err)
	}
	return func() {
		_ = unix.Dup3(kept, 0, 0) // it was one a moment ago
		unix.Close(kept)
	}, nil
}

// consoleName is how long the name of the socket can be, below TempDir, by which the library gets a terminal from a runtime.
const consoleName = len("/buildah4294967295/console.sock")

// maxSocket is the length of the longest name of a socket, sun_path of unix(7) without the NUL.
const maxSocket = 107

// checkConsole refuses a terminal of an OCI runtime's where the library would end in a panic.
func (b *Builder) checkConsole() error {
	if len(b.options.TempDir)+consoleName <= maxSocket {
		return nil
	}
	return failure.New("terminal", b.options.TempDir, "the name of this directory for temporary files is too long for an OCI runtime's terminal").
		WithHint("name a shorter one in TMPDIR, such as /var/tmp, or run the step with the isolation sandbox or chroot.")
}
