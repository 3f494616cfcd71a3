package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"go.podman.io/image/v5/docker"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// explain turns an error of the libraries into one sentence and a hint. What it doesn't know it passes on.
func explain(op, subject string, err error) *failure.Error {
	var known *failure.Error
	if errors.As(err, &known) {
		return known
	}
	e := &failure.Error{Op: op, Subject: subject, Err: err}
	text := err.Error()
	for _, k := range causes {
		if k.when(err, text) {
			e.Err, e.Hint = k.why(err, text), k.hint
			return e
		}
	}
	e.Err = errors.New(strip(text))
	return e
}

// cause is one way for the libraries to fail that users meet often enough to deserve a sentence of its own.
type cause struct {
	when func(err error, text string) bool
	why  func(err error, text string) error
	hint string
}

var causes = []cause{
	{
		when: func(err error, _ string) bool { return errors.Is(err, context.Canceled) },
		why:  saying("stopped: the run was interrupted"),
	}, {
		when: contains("did not resolve to an alias"),
		why:  saying("a short name, and this machine has no list of registries to look it up in"),
		hint: `write the whole name, for example "docker.io/library/debian:bookworm".`,
	}, {
		when: func(err error, text string) bool {
			return errors.Is(err, storage.ErrImageUnknown) || strings.Contains(text, "image not known")
		},
		why:  saying("no such image in the store"),
		hint: `check the name (the store holds "localhost/app:latest" for an image committed as "app"), or pull it first.`,
	}, {
		when: contains("manifest unknown"),
		why:  saying("the registry has no such image or tag"),
		hint: "check the name and the tag.",
	}, {
		when: contains("name unknown"),
		why:  saying("the registry has no repository of that name"),
		hint: "check the name.",
	}, {
		when: func(err error, text string) bool {
			var refused docker.ErrUnauthorizedForCredentials
			return errors.As(err, &refused) || strings.Contains(text, "unauthorized") ||
				strings.Contains(text, "authentication required")
		},
		why:  saying("the registry wants credentials, or refuses the ones it got"),
		hint: "log in with rlbuild login, or name a file that has them: --authfile",
	}, {
		when: func(err error, text string) bool {
			return contains("denied: ", "403 (Forbidden)")(err, text) || strings.HasSuffix(text, ": denied")
		},
		why:  saying("the registry denies access"),
		hint: "check the name, and that your account may do this.",
	}, {
		when: func(err error, text string) bool {
			return errors.Is(err, docker.ErrTooManyRequests) || strings.Contains(text, "toomanyrequests")
		},
		why:  saying("the registry has had too many requests from here"),
		hint: "wait, or log in for a higher limit.",
	}, {
		when: contains("Would invalidate signatures", "Can not copy signatures to"),
		why:  saying("the image has signatures that can't go along: they hold for its manifest as it was signed, or there is no place for them"),
		hint: "leave them out: remove_signatures = True",
	}, {
		when: contains("writing sigstore attachments is disabled by configuration"),
		why:  saying("registries.d doesn't say that this registry takes sigstore signatures"),
		hint: `put "use-sigstore-attachments: true" for it into a file in ~/.config/containers/registries.d.`,
	}, {
		when: contains("failed to connect to the docker API"),
		why:  saying("docker's daemon can't be reached"),
		hint: "see that it runs, and that your user may talk to it; rlbuild needs none, other transports do without.",
	}, {
		when: contains("docker-archive doesn't support modifying existing images"),
		why:  saying("the file is there already, and images can't be added to a docker-archive"),
		hint: "remove the file first: path(…).remove(missing_ok = True)",
	}, {
		when: contains("server gave HTTP response to HTTPS client"),
		why:  saying("the registry speaks plain HTTP, and HTTPS is required"),
		hint: "if you trust the network to it: --tls-verify=false",
	}, {
		when: contains("x509:"),
		why:  func(_ error, text string) error { return errors.New(text[strings.Index(text, "x509:"):]) },
		hint: "name the directory with the registry's authority: --cert-dir; or, if you trust the network, --tls-verify=false",
	}, {
		when: func(err error, _ string) bool { return errors.Is(err, syscall.ECONNREFUSED) },
		why:  dialled("nothing listens at %s"),
		hint: "check the registry's address and port, and that it is running.",
	}, {
		when: func(err error, _ string) bool { var dns *net.DNSError; return errors.As(err, &dns) },
		why: func(err error, _ string) error {
			var dns *net.DNSError
			errors.As(err, &dns)
			return fmt.Errorf("the name %s can't be resolved (%s)", dns.Name, dns.Err)
		},
		hint: "check the registry's name and this machine's network.",
	}, {
		when: contains("insufficient UIDs or GIDs"),
		why: func(_ error, text string) error {
			return fmt.Errorf("the image holds files of owners that aren't mapped here: %s", strip(text))
		},
		hint: "give your user more sub-IDs in /etc/subuid and /etc/subgid; rlbuild doctor shows what you have.",
	}, {
		when: contains("not enough unused IDs in user namespace"),
		why:  saying("not so many IDs are left for an automatic user namespace: each container of the store has its own"),
		hint: "ask for less (userns = \"auto:size=…\"), remove containers, or give your user more sub-IDs; root needs those of a user called containers.",
	}, {
		when: func(err error, _ string) bool { return errors.Is(err, syscall.ENOSPC) },
		why:  func(_ error, text string) error { return errors.New(strip(text)) },
		hint: "free some space: the store and TMPDIR need room for the image and its layers.",
	}, {
		when: func(err error, _ string) bool { return errors.Is(err, fs.ErrNotExist) },
		why:  func(_ error, text string) error { return errors.New(strip(text)) },
		hint: "check the path.",
	},
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

func saying(text string) func(error, string) error {
	return func(error, string) error { return errors.New(text) }
}

// dialled says which address was dialled.
func dialled(format string) func(error, string) error {
	return func(err error, _ string) error {
		var op *net.OpError
		if errors.As(err, &op) && op.Addr != nil {
			return fmt.Errorf(format, op.Addr)
		}
		return fmt.Errorf(format, "that address")
	}
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
