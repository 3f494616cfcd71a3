package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// TestExplainNetwork holds what is said of networks that a test can't break.
// fault: unreachable
func TestExplainNetwork(t *testing.T) {
	address := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
	dial := func(err error) error {
		return fmt.Errorf("pinging container registry r.example: %w", &url.Error{Op: "Get", URL: "https://r.example/v2/",
			Err: &net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: err}})
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "192.0.2.1:443 can't be reached from here: no route to host"},
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "192.0.2.1:443 can't be reached from here: network is unreachable"},
		{dial(os.ErrDeadlineExceeded), "192.0.2.1:443 can't be reached from here: no answer"},
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "nothing listens at 192.0.2.1:443"},
		{&net.OpError{Op: "proxyconnect", Net: "tcp", Err: dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))},
			"nothing listens at 192.0.2.1:443, the proxy that the environment names"},
		{fmt.Errorf("reading: %w", &net.OpError{Op: "read", Net: "tcp", Addr: address, Err: os.NewSyscallError("read", syscall.ECONNRESET)}),
			"the connection to the registry broke off"},
		{fmt.Errorf("uploading: %w", &url.Error{Op: "Put", URL: "https://r.example/v2/", Err: io.EOF}), "the connection to the registry broke off"},
		// Not of a network: the end of a file, and a socket of this machine's.
		{fmt.Errorf("reading x.tar: %w", io.ErrUnexpectedEOF), "reading x.tar: unexpected EOF"},
		{errors.New("connection refused; no route to host; i/o timeout"), "connection refused; no route to host; i/o timeout"},
		{&net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: "/x/sock", Net: "unix"}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
			"dial unix /x/sock: connect: connection refused"},
		{fmt.Errorf("failed to connect to the docker API at tcp://192.0.2.1:2375: %w", dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))),
			trouble.NoDocker.Reason(nil, nil).Error()},
	} {
		e := explain("pull", "r.example/x:1", c.err)
		if e.Err.Error() != c.want {
			t.Errorf("%v: said %q, want %q", c.err, e.Err, c.want)
		}
		if !errors.Is(e, c.err) {
			t.Errorf("%v isn't found in what explains it", c.err)
		}
		if hinted := failure.HintOf(e) != ""; hinted != (c.want != strings.TrimSpace(c.err.Error())) {
			t.Errorf("%v: hint %q", c.err, failure.HintOf(e))
		}
	}
}
