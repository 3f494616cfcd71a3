package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stallMain is a command for the scripts: `stall WHERE [REGISTRY]` starts a server in the background, in front of a registry
// or on its own, that stops answering for ever, and prints its address. It writes the file stalled in the current
// directory when somebody waits for it, and ends when that directory is gone. WHERE it stops answering:
//
//   - connect: connections aren't accepted, and the kernel's queue of them is full
//   - accept: accepted, but nothing is said, in TLS or HTTP
//   - manifest: to a request for a manifest
//   - blob: in the middle of a blob that is fetched
//   - trickle: nowhere, but a blob comes a byte at a time
//   - upload: in the middle of a blob that is sent
//   - finish: when a blob was sent, and only its digest is to be named
//
// `stall lock FILE` holds the lock of a file in the same way, as the storage library takes it, and writes stalled at once.
func stallMain() {
	if os.Args[1] == "here" {
		stallHere(os.Args[2:])
		return
	}
	_ = os.Remove("stalled") // of an earlier one
	cmd := exec.Command(os.Args[0], append([]string{"here"}, os.Args[1:]...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stall:", err)
		os.Exit(1)
	}
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr, "stall: the server ended:", cmd.Wait())
		os.Exit(1)
	}
	fmt.Print(address)
}

func stallHere(args []string) {
	dir, err := os.Getwd()
	if err != nil {
		os.Exit(1)
	}
	var address string
	switch args[0] {
	case "connect":
		address, err = fullQueue()
	case "accept":
		address, err = silent()
	case "lock":
		address, err = args[1], holdLock(args[1])
	default:
		address, err = stalling(args[0], args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stall:", err)
		os.Exit(1)
	}
	fmt.Println(address)
	for exists(dir) {
		time.Sleep(200 * time.Millisecond)
	}
}

// reached tells the script that somebody waits.
func reached() {
	if file, err := os.Create("stalled"); err == nil {
		file.Close()
	}
}

// fullQueue returns an address to which connections are begun and never made.
func fullQueue() (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", err
	}
	if err := unix.Listen(fd, 0); err != nil {
		return "", err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	address := fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port)
	for range 3 { // more than the queue holds: the last ones aren't made
		go func() { _, _ = net.Dial("tcp", address) }()
	}
	time.Sleep(200 * time.Millisecond)
	reached()
	return address, nil
}

// silent returns an address where nobody says anything.
func silent() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		var held []net.Conn
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			held = append(held, connection)
			reached()
		}
	}()
	return listener.Addr().String(), nil
}

// holdLock takes a file's lock as the storage library does, and keeps it.
func holdLock(name string) error {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT, 0o600) // not an os.File, which would be closed some day
	if err != nil {
		return err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLKW, &lock); err != nil {
		return err
	}
	reached()
	return nil
}

// stalling returns the address of a server in front of a registry that stops answering somewhere.
func stalling(where, registry string) (string, error) {
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	behind.ErrorLog, behind.FlushInterval = log.New(io.Discard, "", 0), -1
	switch where {
	case "blob":
		behind.ModifyResponse = slowBlobs(func(body io.Reader, to io.Writer) {
			_, _ = io.CopyN(to, body, 64<<10)
			reached()
			select {}
		})
	case "trickle":
		behind.ModifyResponse = slowBlobs(func(body io.Reader, to io.Writer) {
			for {
				if _, err := io.CopyN(to, body, 1); err != nil {
					return
				}
				reached()
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		blobs, manifests := strings.Contains(r.URL.Path, "/blobs/"), strings.Contains(r.URL.Path, "/manifests/")
		switch {
		case where == "manifest" && manifests,
			where == "finish" && blobs && r.Method == http.MethodPut:
			reached()
			select {}
		case where == "upload" && blobs && r.Method == http.MethodPatch:
			_, _ = io.CopyN(io.Discard, r.Body, 64<<10)
			reached()
			select {}
		}
		behind.ServeHTTP(w, r)
	}))
	return server.Listener.Addr().String(), nil
}

// slowBlobs has the bodies of blobs passed on by pass.
func slowBlobs(pass func(body io.Reader, to io.Writer)) func(*http.Response) error {
	return func(response *http.Response) error {
		if !strings.Contains(response.Request.URL.Path, "/blobs/") || response.Request.Method != http.MethodGet {
			return nil
		}
		body := response.Body
		r, w := io.Pipe()
		go func() {
			defer w.Close()
			pass(body, w)
		}()
		response.Body = r
		return nil
	}
}
