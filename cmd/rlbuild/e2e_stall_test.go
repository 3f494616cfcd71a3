package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
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
//   - drip: as trickle, and so that a small blob comes to its end
//   - upload: in the middle of a blob that is sent
//   - finish: when a blob was sent, and only its digest is to be named
//
// `stall lock FILE` holds the lock of a file, as the storage library takes it, in the same way and prints nothing.
func stallMain() {
	if os.Args[1] == "here" {
		stallHere(os.Args[2:])
		return
	}
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
	port, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr, "stall: the server ended:", cmd.Wait())
		os.Exit(1)
	}
	if port != "\n" {
		fmt.Print(port)
	}
}

func stallHere(args []string) {
	dir, err := os.Getwd()
	if err != nil {
		os.Exit(1)
	}
	var listener net.Listener
	switch args[0] {
	case "lock":
		err = holdLock(args[1])
	case "connect":
		listener, err = fullQueue()
	default:
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stall:", err)
		os.Exit(1)
	}
	if listener == nil {
		fmt.Println()
	} else {
		port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
		reached := func() { note("stalled-"+port, "") }
		switch args[0] {
		case "connect":
			reached()
		case "accept":
			go silent(listener, reached)
		default:
			go func() { _ = http.Serve(listener, stalling(args[0], args[1], reached)) }()
		}
		fmt.Println(port)
	}
	for exists(dir) {
		time.Sleep(200 * time.Millisecond)
	}
}

// fullQueue returns a listener to which connections are begun and never made.
func fullQueue() (net.Listener, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, 0); err != nil {
		return nil, err
	}
	listener, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err != nil {
		return nil, err
	}
	for range 3 { // more than the queue holds: the last ones aren't made
		go func() { _, _ = net.Dial("tcp", listener.Addr().String()) }()
	}
	time.Sleep(200 * time.Millisecond)
	return listener, nil
}

// silent accepts connections and says nothing.
func silent(listener net.Listener, reached func()) {
	var held []net.Conn
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		held = append(held, connection)
		reached()
	}
}

// holdLock takes a file's lock as the storage library does, and keeps it.
func holdLock(name string) error {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT, 0o600) // not an os.File, which would be closed some day
	if err != nil {
		return err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	return unix.FcntlFlock(uintptr(fd), unix.F_SETLKW, &lock)
}

// stalling is in front of a registry, and stops answering somewhere.
func stalling(where, registry string, reached func()) http.Handler {
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	behind.ErrorLog, behind.FlushInterval = log.New(io.Discard, "", 0), -1
	switch where {
	case "blob":
		behind.ModifyResponse = slowBlobs(func(body io.Reader, to io.Writer) {
			_, _ = io.CopyN(to, body, 64)
			reached()
			select {}
		})
	case "trickle", "drip":
		size := map[string]int64{"trickle": 1, "drip": 64}[where]
		behind.ModifyResponse = slowBlobs(func(body io.Reader, to io.Writer) {
			for {
				if _, err := io.CopyN(to, body, size); err != nil {
					return
				}
				reached()
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		blobs, manifests := strings.Contains(r.URL.Path, "/blobs/"), strings.Contains(r.URL.Path, "/manifests/")
		switch {
		case where == "manifest" && manifests,
			where == "finish" && blobs && r.Method == http.MethodPut:
			reached()
			select {}
		case where == "upload" && blobs && r.Method == http.MethodPatch:
			_, _ = io.CopyN(io.Discard, r.Body, 64)
			reached()
			select {}
		}
		behind.ServeHTTP(w, r)
	})
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
