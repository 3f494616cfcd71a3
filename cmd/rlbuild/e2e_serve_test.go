package main

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// serveMain is a command for the scripts: `serve [-tls] DIR` starts a web server for the files in a directory, in the
// background, and prints its address. It ends when the directory is gone. Below /git/ are the repositories of the directory,
// as git speaks HTTP; what is below /private/ is the same for the user "user" with the password "secret"; below /stream/
// files come without their length. With -tls the server's certificate is written to server.crt in the directory.
func serveMain() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "-here" {
		serveHere(args[1:])
		return
	}
	cmd := exec.Command(os.Args[0], append([]string{"-here"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr, "serve: the server ended:", cmd.Wait())
		os.Exit(1)
	}
	fmt.Print(address)
}

func serveHere(args []string) {
	dir := args[len(args)-1]
	server := httptest.NewUnstartedServer(webSite(dir))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if args[0] == "-tls" {
		server.StartTLS()
		authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		if err := os.WriteFile(filepath.Join(dir, "server.crt"), authority, 0o644); err != nil {
			os.Exit(1)
		}
	} else {
		server.Start()
	}
	fmt.Println(server.Listener.Addr())
	// By its whole name: a directory that was deleted is still there as ".".
	whole, err := filepath.Abs(dir)
	for err == nil && exists(whole) {
		time.Sleep(200 * time.Millisecond)
	}
}

func webSite(dir string) http.Handler {
	mux := http.NewServeMux()
	root, err := filepath.Abs(dir)
	if err != nil {
		root = dir
	}
	mux.Handle("/", http.FileServer(http.Dir(root)))
	mux.Handle("/git/", &cgi.Handler{
		Path: "/usr/bin/git", Args: []string{"http-backend"}, Root: "/git", Stderr: io.Discard,
		Env:        []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER="},
		InheritEnv: []string{"HOME"},
	})
	mux.HandleFunc("/stream/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Transfer-Encoding", "chunked")
		if file, err := os.Open(filepath.Join(root, filepath.Base(r.URL.Path))); err == nil {
			defer file.Close()
			_, _ = io.Copy(w, file)
		}
	})
	mux.Handle("/private/", authenticated(http.StripPrefix("/private", mux)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/broken") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
