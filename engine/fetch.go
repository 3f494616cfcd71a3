package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/common/pkg/retry"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/tlsclientconfig"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// Remote tells whether the text of a source is a URL of a file or a git repository, and not a path.
func Remote(text string) bool { return isHTTP(text) || isGit(text) }

func isHTTP(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

// shownURL returns a URL as messages show it: without user name, password and query.
func shownURL(text string) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return text // git@host:path and git+path have room for neither
	}
	// Not by net/url, which refuses some that it would be the more important to redact.
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, tail := rest[:end], rest[end:]
	host = host[strings.LastIndex(host, "@")+1:]
	if query := strings.Index(tail, "?"); query >= 0 {
		tail = tail[:query]
	}
	return scheme + "://" + host + tail
}

// nameOf returns what a file that is downloaded is called, or "" for a URL that has no name in it.
func nameOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	switch name := path.Base(u.Path); name {
	case ".", "..", "/":
		return ""
	default:
		return name
	}
}

// download fetches a file into dir, as the library would: with 0600 for permissions, and the server's time of last change
// or that of the epoch. Where the library has written the file before it compares its digest, nothing is copied here.
func (b *Builder) download(ctx context.Context, source string, dir string, o CopyOptions) error {
	client, err := b.webClient(o.Access)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	f := fetch{client: client, url: source, file: filepath.Join(dir, single), want: digest.Digest(o.Checksum)}
	err = retry.IfNecessary(ctx, func() error { return f.try(ctx) }, &retry.Options{
		MaxRetry: o.Access.retries(), Delay: o.Access.retryDelay(),
	})
	return explainFetch(shownURL(source), err)
}

// webClient returns a client with the certificates that the options name.
func (b *Builder) webClient(a Access) (*http.Client, error) {
	system, err := b.systemWith(a)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{InsecureSkipVerify: system.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue}
	if system.DockerCertPath != "" {
		if err := tlsclientconfig.SetupCertificates(system.DockerCertPath, config); err != nil {
			return nil, err
		}
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: handshakeTime, Proxy: http.ProxyFromEnvironment,
	}}, nil
}

// fetch is one download.
type fetch struct {
	client *http.Client
	url    string
	file   string
	want   digest.Digest // "" for any
}

// try is one attempt. Its errors don't show what is in the URL besides its place.
func (f fetch) try(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return withoutURL(err)
	}
	if user := request.URL.User; user != nil {
		// In the header and not in the URL, which errors and what logs them show.
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
		request.URL.User = nil
	}
	response, err := f.client.Do(request)
	if err != nil {
		return withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return docker.UnexpectedHTTPStatusError{StatusCode: response.StatusCode}
	}
	changed := time.Unix(0, 0)
	if header := response.Header.Get("Last-Modified"); header != "" {
		if changed, err = time.Parse(time.RFC1123, header); err != nil {
			return fmt.Errorf("parsing last-modified time %q: %w", header, err)
		}
	}
	if err := f.save(response.Body); err != nil {
		return err
	}
	return os.Chtimes(f.file, changed, changed)
}

// save writes the file, and compares its digest.
func (f fetch) save(body io.Reader) error {
	file, err := os.OpenFile(f.file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	var sum digest.Digester
	if f.want != "" {
		sum = f.want.Algorithm().Digester()
		body = io.TeeReader(body, sum.Hash())
	}
	_, err = io.Copy(file, body)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if sum != nil && sum.Digest() != f.want {
		return failure.New("checksum:", shownURL(f.url), "what was fetched has the digest %s, and not %s", sum.Digest(), f.want).
			WithHint("the file has changed since, or isn't the one that was meant: look before you change the checksum.")
	}
	return nil
}

// withoutURL takes the URL out of an error of net/http, which says what came of it.
func withoutURL(err error) error {
	var about *url.Error
	if errors.As(err, &about) {
		about.URL = shownURL(about.URL)
	}
	return err
}

// explainFetch says why a download failed.
func explainFetch(source string, err error) error {
	var known *failure.Error
	var status docker.UnexpectedHTTPStatusError
	var dns *net.DNSError
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	bad := func(format string, args ...any) *failure.Error {
		return failure.New("fetching", source, format, args...)
	}
	switch {
	case errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden):
		return bad("the server refuses it (%d %s)", status.StatusCode, http.StatusText(status.StatusCode)).
			WithHint("a user name and a password, if it needs them, go into the URL in front of the host; they are never shown.")
	case errors.As(err, &status):
		return bad("the server answered %d %s", status.StatusCode, http.StatusText(status.StatusCode)).
			WithHint("check the URL.")
	case errors.Is(err, syscall.ECONNREFUSED):
		return bad("%w", trouble.NotListening.Reason(err, dialled(err, ""))).WithHint("check the URL's host and port.")
	case errors.As(err, &dns):
		return bad("%w", trouble.NoSuchHost.Reason(err, lookedUp(err, ""))).WithHint("check the URL's host and this machine's network.")
	case silent(err, ""):
		return trouble.Silent.Explain("fetching", source, err, silentWhere(err, ""))
	case noHandshake(err, ""):
		return bad("%w", trouble.Unreachable.Reason(err, unshaken(err, ""))).WithHint("check the URL's host and port.")
	case strings.Contains(err.Error(), "x509:"):
		return bad("%s", err.Error()[strings.Index(err.Error(), "x509:"):]).
			WithHint("name the directory with the server's authority in cert_dir; or, if you trust the network, tls_verify = False.")
	}
	var about *url.Error
	if errors.As(err, &about) {
		err = about.Err
	}
	return bad("%w", err)
}
