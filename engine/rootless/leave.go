package rootless

// #include "leave.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// leaveName is the environment variable that makes leave.c move a program of whatever name. It is gone before any other
// process is started.
const leaveName = "_RLBUILD_LEAVE"

// departure is what leave.c has done.
type departure struct {
	err          error // why the process is still where it was started, a syscall.Errno; nil when it has left
	user         bool  // a user namespace was wanted too, not a mount namespace alone
	uid, gid     int   // effective, before
	capabilities uint64
	outside      *outside // nil unless user
}

// departed returns what leave.c has done, or has it done first: then the program starts again, in this very process, and
// departed doesn't return.
func departed() (departure, error) {
	_, asked := os.LookupEnv(leaveName)
	os.Unsetenv(leaveName)
	d := &C.rlbuild_departure
	switch {
	case d.tried == 0 && asked:
		return departure{}, errors.New("this program has been started again already, to no effect")
	case d.tried == 0:
		return departure{}, again()
	}
	left := departure{user: d.user != 0, uid: int(d.uid), gid: int(d.gid), capabilities: uint64(d.capabilities), outside: waiting()}
	if d.error != 0 {
		left.err = syscall.Errno(d.error)
	}
	return left, nil
}

// again starts the program again, with the same arguments, and this time leave.c acts.
func again() error {
	err := os.Setenv(leaveName, "1")
	if err == nil {
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	return fmt.Errorf("starting this program again: %w", err)
}

// outside is the process that stayed in the old namespaces.
type outside struct {
	pid    int
	socket int
}

// waiting returns that process, nil when there is none or not any more.
func waiting() *outside {
	d := &C.rlbuild_departure
	if d.errands < 0 {
		return nil
	}
	o := &outside{pid: int(d.outside), socket: int(d.errands)}
	d.errands = -1
	return o
}

// Stay ends what waits for Enter to be called. A program that may call Enter calls Stay before it exits without; it does
// nothing after Enter.
func Stay() { waiting().dismiss() }

func (o *outside) dismiss() {
	if o == nil {
		return
	}
	unix.Close(o.socket)
	for {
		if _, err := unix.Wait4(o.pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// errand is one thing to do in the old namespaces: write a file or run a program.
type errand []string

func write(path, text string) errand { return errand{"write", path, text} }

func execute(path string, argv ...string) errand { return append(errand{"run", path}, argv...) }

// do has errands done, once. It returns what programs printed and a number for each errand, 0 if
// it worked: else errno of a write, or a program's exit status.
func (o *outside) do(errands []errand) (printed string, results []byte, err error) {
	var list []byte
	for _, e := range errands {
		for _, word := range e {
			list = append(append(list, word...), 0)
		}
		list = append(list, 0)
	}
	answer, err := o.ask(list)
	if err != nil {
		return "", nil, fmt.Errorf("asking the process outside: %w", err)
	}
	split := len(answer) - len(errands) - 1
	if split < 0 {
		return "", nil, errors.New("the process outside ended without an answer")
	}
	return string(answer[:split]), answer[split+1:], nil
}

// ask sends the list and returns the answer.
func (o *outside) ask(list []byte) ([]byte, error) {
	for len(list) > 0 {
		n, err := unix.SendmsgN(o.socket, list, nil, nil, unix.MSG_NOSIGNAL)
		if err != nil && err != unix.EINTR {
			return nil, err
		}
		list = list[max(n, 0):]
	}
	if err := unix.Shutdown(o.socket, unix.SHUT_WR); err != nil {
		return nil, err
	}
	var answer []byte
	buffer := make([]byte, 4096)
	for {
		n, err := unix.Read(o.socket, buffer)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return answer, err
		}
		answer = append(answer, buffer[:n]...)
	}
}
