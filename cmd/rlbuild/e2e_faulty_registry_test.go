package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// faulty is a registry with one repository, under many names: what is wrong with it is the repository's name. A script
// pushes to "good", where nothing is, and then pulls "cut-blob". Each fault says which requests have it; all the
// others are answered well.
func faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault, rest, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		kind, _, _ := strings.Cut(rest, "/")
		r.URL.Path = "/v2/good/" + rest
		if at, known := faultyAnswers[fault]; known && at.concerns(r.Method, kind) {
			at.answer(w, r, next)
			return
		}
		next.ServeHTTP(renamed{w, fault}, r)
	})
}

// renamed keeps the client in the repository that it asked for.
type renamed struct {
	http.ResponseWriter
	fault string
}

func (r renamed) WriteHeader(status int) {
	if to := r.Header().Get("Location"); to != "" {
		r.Header().Set("Location", strings.Replace(to, "/v2/good/", "/v2/"+r.fault+"/", 1))
	}
	r.ResponseWriter.WriteHeader(status)
}

// faultyAnswer is what comes of some requests to a repository.
type faultyAnswer struct {
	at     string // "GET manifests", "PATCH blobs"; GET stands for HEAD as well
	answer func(http.ResponseWriter, *http.Request, http.Handler)
}

func (f faultyAnswer) concerns(method, kind string) bool {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return f.at == method+" "+kind
}

var faultyAnswers = map[string]faultyAnswer{
	"unauthorized":     {"GET manifests", refuses(401, "UNAUTHORIZED", "authentication required")},
	"denied":           {"GET manifests", refuses(403, "DENIED", "requested access to the resource is denied")},
	"forbidden":        {"GET manifests", answers(403, "text/html", "<html>a gateway says no")},
	"manifest-unknown": {"GET manifests", refuses(404, "MANIFEST_UNKNOWN", "manifest unknown")},
	"name-unknown":     {"GET manifests", refuses(404, "NAME_UNKNOWN", "repository name not known to registry")},
	"blob-unknown":     {"GET blobs", refuses(404, "BLOB_UNKNOWN", "blob unknown to registry")},
	"html-404":         {"GET manifests", answers(404, "text/html", "<html>not found")},
	"toomany":          {"GET manifests", busy},
	"fails-500":        {"GET manifests", answers(500, "text/plain", "oops")},
	"fails-502":        {"GET manifests", answers(502, "text/html", "<html>bad gateway")},
	"fails-503":        {"GET blobs", answers(503, "text/html", "<html>come back later")},
	"cut-manifest":     {"GET manifests", cutManifest},
	"cut-blob":         {"GET blobs", half(abort)},
	"silent-manifest":  {"GET manifests", sayNothing},
	"silent-blob":      {"GET blobs", half(sayNothing)},
	"trickle-blob":     {"GET blobs", half(trickle)},
	"short-blob":       {"GET blobs", half(nil)},
	"corrupt-blob":     {"GET blobs", corrupt},
	"garbage-manifest": {"GET manifests", answers(200, "application/vnd.oci.image.manifest.v1+json", "{ this is no JSON")},
	"web-page":         {"GET manifests", answers(200, "text/html", "<html>Log in to the hotel's network")},
	"redirects": {"GET manifests", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, strings.Replace(r.URL.Path, "/good/", "/redirects/", 1), http.StatusTemporaryRedirect)
	}},

	"push-denied":       {"POST blobs", refuses(403, "DENIED", "requested access to the resource is denied")},
	"push-500":          {"POST blobs", answers(500, "text/plain", "oops")},
	"push-cut":          {"PATCH blobs", abort},
	"push-silent":       {"PATCH blobs", sayNothing},
	"push-507":          {"PATCH blobs", refuses(507, "UNKNOWN", "no space left")},
	"push-manifest":     {"PUT manifests", answers(500, "text/plain", "oops")},
	"push-manifest-cut": {"PUT manifests", abort},
}

func answers(status int, kind, body string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func refuses(status int, code, message string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { refuse(w, status, code, message) }
}

func busy(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Retry-After", "0")
	refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "you have reached your pull rate limit")
}

// abort breaks the connection.
func abort(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// cutManifest breaks off in the middle of a manifest.
func cutManifest(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body := rightAnswer(w, r, next)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	abort(w, r, next)
}

// sayNothing says no more, and takes nothing either, until the client goes.
func sayNothing(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }

// trickle says a byte now and then.
func trickle(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	for r.Context().Err() == nil {
		_, _ = w.Write([]byte{0})
		_ = http.NewResponseController(w).Flush()
		time.Sleep(50 * time.Millisecond)
	}
}

// small are configurations: the faults of blobs are meant for layers, which come after those.
const small = 16 << 10

// half sends half of the right answer, and then does something else; with nil the answer says that this is all.
func half(then func(http.ResponseWriter, *http.Request, http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		body := rightAnswer(w, r, next)
		if len(body) < small {
			_, _ = w.Write(body)
			return
		}
		part := body[:len(body)/2]
		if then == nil {
			w.Header().Set("Content-Length", strconv.Itoa(len(part)))
		}
		_, _ = w.Write(part)
		if then != nil {
			_ = http.NewResponseController(w).Flush()
			then(w, r, next)
		}
	}
}

// corrupt changes one bit in the middle.
func corrupt(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body := rightAnswer(w, r, next)
	if len(body) >= small {
		body[len(body)/2] ^= 1
	}
	_, _ = w.Write(body)
}

// rightAnswer takes over the headers of the right answer, and returns its body.
func rightAnswer(w http.ResponseWriter, r *http.Request, next http.Handler) []byte {
	recorder := httptest.NewRecorder()
	next.ServeHTTP(recorder, r)
	for name, values := range recorder.Header() {
		w.Header()[name] = values
	}
	return bytes.Clone(recorder.Body.Bytes())
}

// expired starts a registry whose certificate was valid until yesterday, for any name of this machine.
func expired(next http.Handler) (*httptest.Server, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().AddDate(0, 0, -9), NotAfter: time.Now().AddDate(0, 0, -1),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	server := httptest.NewUnstartedServer(next)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	return server, nil
}

// trusted makes a directory that --cert-dir can name, with a server's certificate as an authority.
func trusted(dir string, server *httptest.Server) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return os.WriteFile(filepath.Join(dir, "ca.crt"), authority, 0o644)
}
