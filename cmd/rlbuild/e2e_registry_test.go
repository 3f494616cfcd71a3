package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// watched is a registry that notes each request as a line "METHOD PATH" in the file requests of dir. The file trouble there
// says what is wrong with it:
//
//   - lost: it has none of the blobs that it had
//   - full: it takes no more uploads
//   - cut: the connection breaks in the middle of an upload
//   - away: what is behind its gateway doesn't answer
//   - denied: nobody may write
func watched(next http.Handler, dir string) http.Handler {
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		note(filepath.Join(dir, "requests"), r.Method+" "+r.URL.Path)
		mu.Unlock()
		trouble, _ := os.ReadFile(filepath.Join(dir, "trouble")) // none is as good
		switch is := strings.TrimSpace(string(trouble)); {
		case is == "lost" && r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/"):
			w.WriteHeader(http.StatusNotFound)
		case is == "full" && r.Method == http.MethodPatch:
			refuse(w, http.StatusInsufficientStorage, "UNKNOWN", "no space left")
		case is == "away" && r.Method == http.MethodPatch:
			w.WriteHeader(http.StatusBadGateway)
		case is == "denied" && r.Method == http.MethodPost:
			refuse(w, http.StatusForbidden, "DENIED", "requested access to the resource is denied")
		case is == "cut" && r.Method == http.MethodPatch:
			_, _ = io.CopyN(io.Discard, r.Body, 64<<10)
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

func note(name, line string) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return // the script that wanted to read it fails
	}
	_, _ = fmt.Fprintln(file, line)
	_ = file.Close()
}
