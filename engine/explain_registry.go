package engine

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"
	"go.podman.io/image/v5/docker"

	"github.com/rlbuild/rlbuild/engine/trouble"
)

// registrySigns go by the types of errors and by what registries answer, not by the whole text of an error, which names
// images and paths that are anybody's to choose.
var registrySigns = []sign{
	{of: trouble.NoDocker, when: contains("failed to connect to the docker API")}, // its own socket, or a server that isn't a registry
	{of: trouble.ShortName, when: contains(" did not resolve to an alias and no "), facts: searched},
	{of: trouble.ShortNameChoice, when: contains("resolution enforced but cannot prompt without a TTY")},
	{of: trouble.NoImage, when: func(err error, text string) bool {
		return answerIs(v2.ErrorCodeManifestUnknown)(err, text) ||
			strings.Contains(text, "reading manifest ") && answered(err, text) == http.StatusNotFound
	}},
	{of: trouble.NoRepository, when: answerIs(v2.ErrorCodeNameUnknown)},
	{of: trouble.NoBlob, when: answerIs(v2.ErrorCodeBlobUnknown)},
	{of: trouble.Login, when: func(err error, text string) bool {
		return errors.As(err, new(docker.ErrUnauthorizedForCredentials)) || answerIs(errcode.ErrorCodeUnauthorized)(err, text) ||
			answered(err, text) == http.StatusUnauthorized
	}},
	{of: trouble.Denied, when: func(err error, text string) bool {
		return answerIs(errcode.ErrorCodeDenied)(err, text) || answered(err, text) == http.StatusForbidden
	}},
	{of: trouble.TooMany, when: func(err error, text string) bool {
		return errors.Is(err, docker.ErrTooManyRequests) || answerIs(errcode.ErrorCodeTooManyRequests)(err, text) ||
			answered(err, text) == http.StatusTooManyRequests
	}},
	{of: trouble.ServerFails, when: func(err error, text string) bool {
		return answered(err, text) >= 500 || answerIs(errcode.ErrorCodeUnavailable)(err, text)
	}, facts: status},
	{of: trouble.Redirects, when: func(err error, _ string) bool {
		var request *url.Error
		return errors.As(err, &request) && strings.HasPrefix(request.Err.Error(), "stopped after ")
	}},
	{of: trouble.NoManifest, when: func(err error, text string) bool {
		return errors.As(err, new(*json.SyntaxError)) && strings.Contains(text, "initializing image from source docker://")
	}},
	{of: trouble.Damaged, when: wrongDigest},
	{of: trouble.PlainHTTP, when: func(err error, text string) bool {
		return strings.Contains(text, "http: server gave HTTP response to HTTPS client")
	}},
	{of: trouble.Authority, when: func(err error, _ string) bool { return errors.As(err, new(x509.UnknownAuthorityError)) }},
	{of: trouble.CertificateName, when: func(err error, _ string) bool { return errors.As(err, new(x509.HostnameError)) }, facts: certified},
	{of: trouble.CertificateTime, when: func(err error, _ string) bool {
		var invalid x509.CertificateInvalidError
		return errors.As(err, &invalid) && invalid.Reason == x509.Expired
	}, facts: validity},
	{of: trouble.NotListening, when: func(err error, _ string) bool { return dialling(err) && errors.Is(err, syscall.ECONNREFUSED) }, facts: dialled},
	{of: trouble.NoSuchHost, when: func(err error, _ string) bool { return errors.As(err, new(*net.DNSError)) }, facts: lookedUp},
	{of: trouble.Unreachable, when: unreachable, facts: dialled},
	{of: trouble.Unreachable, when: noHandshake, facts: unshaken},
	{of: trouble.Silent, when: silent, facts: silentWhere},
	{of: trouble.CutOff, when: cutOff},
}

// answerIs tells whether a registry answered with one of these codes.
func answerIs(codes ...errcode.ErrorCode) func(error, string) bool {
	return func(err error, _ string) bool {
		var answer errcode.Error
		var bare errcode.ErrorCode // without words of the registry's own
		if errors.As(err, &answer) {
			bare = answer.Code
		} else if !errors.As(err, &bare) {
			return false
		}
		return slices.Contains(codes, bare)
	}
}

// unexpected is how the library writes an answer that isn't in the registries' own format.
var unexpected = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`StatusCode: ([0-9]{3}), "`) })

// answered returns the HTTP status that a registry refused a request with, or 0.
func answered(err error, text string) int {
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return status.StatusCode
	}
	code := 0
	if m := unexpected().FindStringSubmatch(text); m != nil {
		_, _ = fmt.Sscan(m[1], &code) // digits
	}
	return code
}

func status(err error, text string) trouble.Facts {
	code := answered(err, text)
	if code == 0 {
		code = http.StatusServiceUnavailable
	}
	return trouble.Facts{"status": strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))}
}

// searched says what was looked for where.
func searched(_ error, text string) trouble.Facts {
	facts := trouble.Facts{"name": "NAME", "file": "~/.config/containers/registries.conf"}
	if m := regexp.MustCompile(`short-name "([^"]+)" did not resolve to an alias and no unqualified-search registries are defined in "([^"]+)"`).
		FindStringSubmatch(text); m != nil {
		facts["name"], facts["file"] = m[1], m[2]
	} else if m := regexp.MustCompile(`short-name "([^"]+)" did not`).FindStringSubmatch(text); m != nil {
		facts["name"] = m[1]
	}
	return facts
}

// wrongDigest goes by the texts of the library, which has no types for them.
func wrongDigest(_ error, text string) bool {
	return regexp.MustCompile(`Digest did not match, expected [a-z0-9]+:[0-9a-f]+, got|` +
		`blob digest [a-z0-9]+:[0-9a-f]+ does not match expected|anifest does not match provided manifest digest`).MatchString(text)
}

// certified says which names a certificate is for.
func certified(err error, _ string) trouble.Facts {
	var wrong x509.HostnameError
	errors.As(err, &wrong)
	names := append([]string(nil), wrong.Certificate.DNSNames...)
	for _, ip := range wrong.Certificate.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{"no name at all"}
	}
	return trouble.Facts{"names": strings.Join(names, ", "), "host": wrong.Host}
}

// validity says when a certificate is valid.
func validity(err error, _ string) trouble.Facts {
	var invalid x509.CertificateInvalidError
	errors.As(err, &invalid)
	day := func(t time.Time) string { return t.Format(time.DateOnly) }
	return trouble.Facts{"from": day(invalid.Cert.NotBefore), "to": day(invalid.Cert.NotAfter), "today": day(time.Now())}
}

// dialling tells whether it was the connecting that failed.
func dialling(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") && !strings.HasPrefix(op.Net, "unix")
}

// dialled says which address was dialled, and what came of it.
func dialled(err error, _ string) trouble.Facts {
	facts := trouble.Facts{"address": "that address"}
	var op *net.OpError
	if !errors.As(err, &op) {
		return facts
	}
	proxy := op.Op == "proxyconnect"
	for inner := op; errors.As(inner.Err, &inner); {
		op = inner
	}
	if op.Addr != nil {
		facts["address"] = op.Addr.String()
	}
	if proxy {
		facts["address"] += ", the proxy that the environment names"
	}
	facts["detail"] = op.Err.Error()
	var no syscall.Errno
	if errors.As(op.Err, &no) {
		facts["detail"] = no.Error()
	} else if op.Timeout() {
		facts["detail"] = "no answer"
	}
	return facts
}

// unreachable tells whether there is no way to an address, or no answer from it.
func unreachable(err error, _ string) bool {
	if !dialling(err) {
		return false
	}
	var op *net.OpError
	errors.As(err, &op)
	return op.Timeout() || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH)
}

// lookedUp says which name was looked up.
func lookedUp(err error, _ string) trouble.Facts {
	var dns *net.DNSError
	errors.As(err, &dns)
	return trouble.Facts{"host": dns.Name, "detail": dns.Err}
}

// cutOff tells whether a connection that was there broke: while a request was made, or while its answer was read, where
// the library adds its own words. The end of a file that is cut short looks the same but for those.
func cutOff(err error, text string) bool {
	broken := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	return broken && (errors.As(err, new(*url.Error)) ||
		contains("reading manifest body ", "unexpected EOF (after reconnecting", "(while reconnecting: ", "(heuristic tuning data: ")(err, text) ||
		errors.As(err, new(*net.OpError)) && errors.Is(err, syscall.ECONNRESET))
}
