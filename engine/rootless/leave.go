package rootless

// #include "leave.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

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
	stuck  bool // it hasn't answered in time
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
	if o.stuck {
		_ = unix.Kill(o.pid, unix.SIGKILL) // what it waits for may never end
	}
	for {
		if _, err := unix.Wait4(o.pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// errand is one thing to do in the old namespaces: write or print a file, print its owners, or run a program.
type errand []string

func write(path, text string) errand { return errand{"write", path, text} }

func execute(path string, argv ...string) errand { return append(errand{"run", path}, argv...) }

// errOutside is found in the errors of do.
var errOutside = errors.New("asking the process outside")

// do has errands done, no more than eight at once. It returns what was printed and a number for each errand, 0 if it worked:
// else errno, or a program's exit status.
func (o *outside) do(errands []errand) (printed string, results []byte, err error) {
	var list []byte
	for _, e := range errands {
		for _, word := range e {
			list = append(append(list, word...), 0)
		}
		list = append(list, 0)
	}
	printed, results, err = o.ask(list)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", errOutside, err)
	}
	if len(results) != len(errands) {
		return "", nil, fmt.Errorf("%w: it ended without an answer", errOutside)
	}
	return printed, results, nil
}

// ask sends a list and returns the answer.
func (o *outside) ask(list []byte) (printed string, results []byte, err error) {
	for {
		if _, err = unix.SendmsgN(o.socket, list, nil, nil, unix.MSG_NOSIGNAL); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return "", nil, err
	}
	packet := make([]byte, 1<<16)
	for {
		n, err := unix.Read(o.socket, packet)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			o.stuck = true
			return "", nil, errors.New("no answer in time")
		case err != nil || n == 0:
			return "", nil, err
		case packet[0] == 0:
			return printed, packet[1:n], nil
		default:
			printed += string(packet[:n])
		}
	}
}

// hurry bounds the wait for each part of an answer.
func (o *outside) hurry(limit time.Duration) {
	if o != nil {
		t := unix.NsecToTimeval(limit.Nanoseconds())
		_ = unix.SetsockoptTimeval(o.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t) // without it the wait is as long as ever
	}
}

// show returns the text of a file as the old namespaces have it, "" for one that can't be read. Without a process
// outside this one hasn't left them.
func (o *outside) show(path string) string {
	if o == nil {
		text, _ := os.ReadFile(path) // what can't be read isn't known
		return string(text)
	}
	text, _, err := o.do([]errand{{"show", path}})
	if err != nil {
		return ""
	}
	return text
}

// owners returns whose a file is, with the numbers of the old namespaces.
func (o *outside) owners(path string) (uid, gid int, ok bool) {
	if o == nil {
		var st unix.Stat_t
		err := unix.Stat(path, &st)
		return int(st.Uid), int(st.Gid), err == nil
	}
	text, results, err := o.do([]errand{{"owners", path}})
	if err != nil || results[0] != 0 {
		return 0, 0, false
	}
	_, err = fmt.Sscan(text, &uid, &gid)
	return uid, gid, err == nil
}
