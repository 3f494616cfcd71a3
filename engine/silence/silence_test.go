package silence_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rlbuild/rlbuild/engine/silence"
)

// limit is how long a server may be silent here. What is to outlast it takes twice as long; what lives moves ten times in it, with
// so much room that a busy machine makes no silence.
const limit = 2 * time.Second

// talk has a server answer one request, by a client that is watched, and returns the answer and the error of making the
// request or reading the answer. Its last argument makes the request's body; nil is none.
func talk(t *testing.T, secure bool, answer http.HandlerFunc, body io.Reader) (string, error) {
	t.Helper()
	over := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, r.WithContext(context.WithValue(r.Context(), overKey{}, over)))
	})
	server := httptest.NewUnstartedServer(handler)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() { close(over); server.CloseClientConnections(); server.Close() })
	request, err := http.NewRequestWithContext(silence.Watch(t.Context(), limit), http.MethodPut, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

type overKey struct{}

// hush says no more until the test is over.
func hush(r *http.Request) { <-r.Context().Value(overKey{}).(chan struct{}) }

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// endless is what no buffer on the way holds.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestSilentServers(t *testing.T) {
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		body    func() io.Reader
		sending bool
	}{
		"no answer":         {answer: func(_ http.ResponseWriter, r *http.Request) { hush(r) }},
		"no answer to data": {answer: func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); hush(r) }, body: func() io.Reader { return strings.NewReader("a little") }},
		"part of an answer": {answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "a part")
			flush(w)
			hush(r)
		}},
		"part of an answer of unknown length": {answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			w.Header().Set("Transfer-Encoding", "identity")
			_, _ = io.WriteString(w, "a part")
			flush(w)
			hush(r)
		}},
		"doesn't read": {answer: func(_ http.ResponseWriter, r *http.Request) { hush(r) }, body: func() io.Reader { return endless{} }, sending: true},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", TLS"}[secure], func(t *testing.T) {
				t.Parallel()
				var body io.Reader
				if c.body != nil {
					body = c.body()
				}
				_, err := talk(t, secure, c.answer, body)
				got, ok := silence.Of(err)
				if !ok || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("got %v, want the end of a silence", err)
				}
				if got.Limit != limit || got.Sending != c.sending || !strings.HasPrefix(got.Address, "127.0.0.1:") {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

// slowly gives nothing before the limit has passed twice.
type slowly struct{ io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(2 * limit)
	return s.Reader.Read(p[:min(len(p), 3)])
}

func TestLivingServers(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		body   func() io.Reader
	}{
		"a trickle": {answer: func(w http.ResponseWriter, _ *http.Request) {
			for range 20 {
				_, _ = io.WriteString(w, "x")
				flush(w)
				time.Sleep(limit / 10)
			}
		}},
		"a slow reader": {answer: func(_ http.ResponseWriter, r *http.Request) {
			for buffer := make([]byte, 2<<20); ; time.Sleep(limit / 10) {
				if _, err := io.ReadFull(r.Body, buffer); err != nil {
					return
				}
			}
		}, body: func() io.Reader { return io.LimitReader(endless{}, 40<<20) }},
		"a slow client": {answer: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}, body: func() io.Reader { return slowly{strings.NewReader("slow")} }},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", TLS"}[secure], func(t *testing.T) {
				t.Parallel()
				var body io.Reader
				if c.body != nil {
					body = c.body()
				}
				if _, err := talk(t, secure, c.answer, body); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestRelay has an upload wait for bytes that a silent server doesn't send.
func TestRelay(t *testing.T) {
	part := func(w http.ResponseWriter) {
		_, _ = io.WriteString(w, "a part")
		flush(w)
	}
	none := func(http.ResponseWriter) {}
	for name, c := range map[string]struct {
		begin func(http.ResponseWriter)
		busy  bool // the machine is, so that even a short request takes its time to be written
	}{
		"no answer":                           {begin: none},
		"no answer on a busy machine":         {begin: none, busy: true},
		"part of an answer":                   {begin: part},
		"part of an answer on a busy machine": {begin: part, busy: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over, uploading := make(chan struct{}), make(chan struct{})
			from := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				<-uploading
				c.begin(w)
				<-over
			}))
			to := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(uploading)
				_, _ = io.Copy(io.Discard, r.Body)
			}))
			defer func() { close(over); from.Close(); to.Close() }()
			ctx := silence.Watch(t.Context(), limit)
			r, w := io.Pipe()
			go func() {
				<-uploading
				ctx := ctx
				if c.busy {
					ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { time.Sleep(limit / 4) }})
				}
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, from.URL, nil)
				if err == nil {
					var response *http.Response
					if response, err = from.Client().Do(request); err == nil {
						_, err = io.Copy(w, response.Body)
					}
				}
				w.CloseWithError(err)
			}()
			request, err := http.NewRequestWithContext(ctx, http.MethodPut, to.URL, r)
			if err != nil {
				t.Fatal(err)
			}
			_, err = to.Client().Do(request)
			if got, ok := silence.Of(err); !ok || got.Address != from.Listener.Addr().String() {
				t.Errorf("got %v, %+v", err, got)
			}
		})
	}
}

// TestUnread has a client that doesn't come to read the answer, as while it unpacks what came before.
func TestUnread(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, io.LimitReader(endless{}, size))
	}))
	t.Cleanup(server.Close) // after the answer
	answer := unread(t, server)
	if n, err := io.Copy(io.Discard, answer); err != nil || n != size {
		t.Errorf("read %d bytes: %v", n, err)
	}
}

// unread asks a server, and returns its answer after so long that it would be silent, had it more to say.
func unread(t *testing.T, server *httptest.Server) io.Reader {
	t.Helper()
	request, err := http.NewRequestWithContext(silence.Watch(t.Context(), limit), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	time.Sleep(2 * limit)
	return response.Body
}

// TestClosed has a server that has said all, and closed the connection, before the client comes to read the answer.
func TestClosed(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			w.Header().Set("Transfer-Encoding", "identity") // it goes on until the connection ends
			_, _ = io.WriteString(w, "well")
		}))
		if secure {
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close) // after the answer
		answer := unread(t, server)
		if text, err := io.ReadAll(answer); err != nil || string(text) != "well" {
			t.Errorf("secure %v: got %q, %v", secure, text, err)
		}
	}
}

// TestKept uses a connection again that was kept for longer than the limit, whether it was given up or not.
func TestKept(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "well") }))
	defer server.Close()
	ctx := silence.Watch(t.Context(), limit)
	for range 3 {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader("ask"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(response.Body); err != nil || string(text) != "well" {
			t.Errorf("got %q, %v", text, err)
		}
		response.Body.Close()
		time.Sleep(2 * limit)
	}
}

func TestNoLimit(t *testing.T) {
	if ctx := t.Context(); silence.Watch(ctx, 0) != ctx {
		t.Error("no limit has something watched")
	}
}
