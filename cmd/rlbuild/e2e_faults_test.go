package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestFaults runs scripts that break the machine for an ordinary user, as only root can, in a mount namespace of their own,
// and read what that user is told.
func TestFaults(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can break a machine")
	}
	t.Parallel()
	victim, err := user.Lookup("rlbuild-test")
	if err != nil {
		if os.Getenv(requireNamespaces) != "" {
			t.Fatal(err)
		}
		t.Skip(err, "; `make test` makes that user")
	}
	// What go test and testscript make is closed to other users.
	dir, err := os.MkdirTemp("/var/tmp", "rlbuild-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := copyCommands(bin); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := suite{dir: "faults", driver: "overlay", path: bin + ":" + os.Getenv("PATH"), victim: victim, workRoot: dir}
	runSuite(t, s)
}

// copyCommands puts the suite's commands where other users can run them.
func copyCommands(bin string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	first := filepath.Join(bin, "rlbuild")
	if err := os.WriteFile(first, program, 0o755); err != nil {
		return err
	}
	peer, err := os.ReadFile(os.Getenv("RLBUILD_PEER"))
	if err != nil {
		return fmt.Errorf("RLBUILD_PEER must name the buildah to compare with: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bin, "buildah"), peer, 0o755); err != nil {
		return err
	}
	for name := range commands {
		if name == "rlbuild" {
			continue
		}
		if err := os.Link(first, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return nil
}

// handOver gives a script's directory to the user that it is about.
func handOver(env *testscript.Env, victim *user.User) error {
	uid, err := strconv.Atoi(victim.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(victim.Gid)
	if err != nil {
		return err
	}
	env.Setenv("USER", victim.Username)
	env.Setenv("LOGNAME", victim.Username)
	env.Setenv("UID", victim.Uid)
	env.Setenv("VICTIM", victim.Username)
	env.Setenv("PEER", filepath.Join(filepath.Dir(env.WorkDir), "bin/buildah"))
	env.Defer(func() { // in a namespace of its own nothing of a script is mounted
		if err := os.RemoveAll(env.WorkDir); err != nil {
			env.T().Log(err)
			env.T().FailNow()
		}
	})
	return filepath.WalkDir(env.WorkDir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// faultyMain is a command for the scripts of TestFaults: `faulty SETUP COMMAND...` runs the lines of the file SETUP by root's
// shell in a mount namespace of its own, and then the command as the ordinary user $VICTIM, in that namespace. A SETUP of "-"
// is empty.
func faultyMain() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: faulty SETUP COMMAND...")
		os.Exit(2)
	}
	const line = `setup=$1; shift
if [ "$setup" != - ]; then . "./$setup"; fi
exec setpriv --reuid="$VICTIM" --regid="$VICTIM" --init-groups --inh-caps=-all -- "$@"`
	unshare, err := exec.LookPath("unshare")
	if err == nil {
		argv := append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-euc", line, "sh"}, os.Args[1:]...)
		err = syscall.Exec(unshare, argv, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "faulty:", err)
	os.Exit(1)
}
