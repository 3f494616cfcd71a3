package engine

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"go.podman.io/image/v5/docker"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// explain turns an error of the libraries into one sentence and a hint. What it doesn't know it passes on.
func explain(op, subject string, err error) *failure.Error {
	var known *failure.Error
	if errors.As(err, &known) {
		return known
	}
	if e := explainFile(op, subject, err); e != nil {
		return e
	}
	text := err.Error()
	for _, s := range signs {
		if s.when(err, text) {
			facts := trouble.Facts{"detail": strip(text)}
			if s.facts != nil {
				facts = s.facts(err, text)
			}
			return s.of.Explain(op, subject, err, facts)
		}
	}
	if k := unmappedID(text); k != nil {
		return k.explain(op, subject, err)
	}
	e := &failure.Error{Op: op, Subject: subject, Err: errors.New(strip(text))}
	switch {
	case errors.Is(err, context.Canceled):
		e.Err = errors.New("stopped: the run was interrupted")
	case errors.Is(err, fs.ErrNotExist):
		e.Hint = "check the path."
	}
	return e
}

// sign is what a known trouble is recognised by in an error of the libraries.
type sign struct {
	of    *trouble.Trouble
	when  func(err error, text string) bool
	facts func(err error, text string) trouble.Facts // nil for the text alone, as "detail"
}

// signs are tried in this order.
var signs = []sign{
	{of: trouble.ShortName, when: contains("did not resolve to an alias")},
	{of: trouble.NotInStore, when: func(err error, text string) bool {
		return errors.Is(err, storage.ErrImageUnknown) || strings.Contains(text, "image not known")
	}},
	{of: trouble.NoImage, when: contains("manifest unknown")},
	{of: trouble.NoRepository, when: contains("name unknown")},
	{of: trouble.Login, when: func(err error, text string) bool {
		var refused docker.ErrUnauthorizedForCredentials
		return errors.As(err, &refused) || contains("unauthorized", "authentication required")(err, text)
	}},
	{of: trouble.Denied, when: func(err error, text string) bool {
		return contains("denied: ", "403 (Forbidden)")(err, text) || strings.HasSuffix(text, ": denied")
	}},
	{of: trouble.TooMany, when: func(err error, text string) bool {
		return errors.Is(err, docker.ErrTooManyRequests) || strings.Contains(text, "toomanyrequests")
	}},
	{of: trouble.Signatures, when: contains("Would invalidate signatures", "Can not copy signatures to")},
	{of: trouble.NoAttachments, when: contains("writing sigstore attachments is disabled by configuration")},
	{of: trouble.NoDocker, when: contains("failed to connect to the docker API")},
	{of: trouble.ArchiveThere, when: contains("docker-archive doesn't support modifying existing images")},
	{of: trouble.PlainHTTP, when: contains("server gave HTTP response to HTTPS client")},
	{of: trouble.Authority, when: contains("x509:"), facts: func(_ error, text string) trouble.Facts {
		return trouble.Facts{"detail": text[strings.Index(text, "x509:"):]}
	}},
	{of: trouble.NotListening, when: func(err error, _ string) bool { return errors.Is(err, syscall.ECONNREFUSED) }, facts: dialled},
	{of: trouble.NoSuchHost, when: func(err error, _ string) bool { return errors.As(err, new(*net.DNSError)) }, facts: lookedUp},
	{of: trouble.ImageIDs, when: contains("insufficient UIDs or GIDs"), facts: imageOwner},
	{of: trouble.AutoIDs, when: contains("not enough unused IDs in user namespace")},
	{of: trouble.NoSpace, when: func(err error, _ string) bool { return errors.Is(err, syscall.ENOSPC) }},
}

func contains(parts ...string) func(error, string) bool {
	return func(_ error, text string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
}

// dialled says which address was dialled.
func dialled(err error, _ string) trouble.Facts {
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		return trouble.Facts{"address": op.Addr.String()}
	}
	return trouble.Facts{"address": "that address"}
}

// lookedUp says which name was looked up.
func lookedUp(err error, _ string) trouble.Facts {
	var dns *net.DNSError
	errors.As(err, &dns)
	return trouble.Facts{"host": dns.Name, "detail": dns.Err}
}

// noise is what the libraries put in front of the reason: identifiers and the steps on the way.
var noise = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:(?:copying layers and metadata|computing layer digests and building metadata) for container "[0-9a-f]+"|` +
		`initializing (?:source|destination) [^ ]+|while running runtime|adding content to container "[^"]+"|` +
		`mounting (?:build )?container "[0-9a-f]+"): `)
})

// request is what the library's copier adds to an error: all that it was asked, as Go prints it.
var request = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`error during bulk transfer for copier\.request\{.*\}: (?:copier: )?`)
})

// strip removes the noise in front of a library's reason, and keeps it on one line.
func strip(text string) string {
	text = request().ReplaceAllString(text, "")
	for {
		shorter := noise().ReplaceAllString(text, "")
		if shorter == text {
			break
		}
		text = shorter
	}
	return strings.Join(strings.Fields(text), " ")
}
