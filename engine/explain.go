package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/diagnose"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/store"
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
	if several := attempts(err); len(several) > 0 {
		return explainAttempts(op, subject, err, several)
	}
	// What is acted on may be called anything, and mustn't be taken for a sign.
	text := withoutSubject(err.Error(), subject)
	for _, s := range slices.Concat(registrySigns, signs) {
		if s.when(err, text) {
			facts := trouble.Facts{"detail": strip(text)}
			if s.facts != nil {
				facts = s.facts(err, err.Error())
			}
			return s.of.Explain(op, subject, err, facts)
		}
	}
	if k := (*cause)(diagnose.UnmappedID(text)); k != nil {
		return k.explain(op, subject, err)
	}
	e := &failure.Error{Op: op, Subject: subject, Err: brief{strip(err.Error()), err}}
	switch {
	case errors.Is(err, context.Canceled):
		e.Err = errors.New("stopped: the run was interrupted")
	case errors.Is(err, fs.ErrNotExist):
		e.Hint = "check the path."
	case strings.HasSuffix(text, ": "+syscall.ENAMETOOLONG.Error()):
		e.Hint = "a name may have 255 bytes, and a path of names 4095: archives and images hold no longer ones here."
	}
	return e
}

// attempts are the errors of a short name that was looked for at several registries.
func attempts(err error) []error {
	for ; err != nil; err = errors.Unwrap(err) {
		if list, ok := err.(interface{ Unwrap() []error }); ok && strings.Contains(err.Error(), " errors occurred while pulling:") {
			return list.Unwrap()
		}
	}
	return nil
}

// explainAttempts says of each registry why the image didn't come from there.
func explainAttempts(op, subject string, err error, several []error) *failure.Error {
	var reasons, hints []string
	for _, one := range several {
		source := ""
		if m := regexp.MustCompile(`docker://([^ ]+): `).FindStringSubmatch(one.Error()); m != nil {
			source = m[1]
		}
		e := explain("", source, one)
		reasons = append(reasons, e.Error())
		hints = append(hints, e.Hint)
	}
	return &failure.Error{Op: op, Subject: subject, Err: brief{strings.Join(reasons, "; "), err}, Hint: hints[len(hints)-1]}
}

// brief is an error of the libraries without the noise in front.
type brief struct {
	text  string
	cause error
}

func (b brief) Error() string { return b.text }
func (b brief) Unwrap() error { return b.cause }

// withoutSubject takes the name of what is acted on out of an error's text. The name of a transport stays.
func withoutSubject(text, subject string) string {
	_, place, _ := strings.Cut(subject, ":") // the libraries write a name with its transport or without
	for _, name := range []string{strings.TrimPrefix(place, "//"), subject} {
		if len(name) > 3 {
			text = strings.ReplaceAll(text, name, "…")
		}
	}
	return text
}

// sign is what a known trouble is recognised by in an error of the libraries.
type sign struct {
	of    *trouble.Trouble
	when  func(err error, text string) bool
	facts func(err error, text string) trouble.Facts // nil for the text alone, as "detail"
}

// signs are tried in this order, and registrySigns before them.
var signs = []sign{
	{of: trouble.NotInStore, when: func(err error, text string) bool {
		return errors.Is(err, storage.ErrImageUnknown) || strings.HasSuffix(text, ": image not known")
	}},
	{of: trouble.Signatures, when: contains("Would invalidate signatures", "Can not copy signatures to")},
	{of: trouble.NoAttachments, when: contains("writing sigstore attachments is disabled by configuration")},
	{of: trouble.ArchiveThere, when: contains("docker-archive doesn't support modifying existing images")},
	{of: trouble.TooManyLayers, when: func(err error, text string) bool {
		return errors.Is(err, store.ErrTooManyLayers) || strings.HasSuffix(text, "max depth exceeded")
	}},
	{of: trouble.ImageIDs, when: contains("insufficient UIDs or GIDs"), facts: imageOwner},
	{of: trouble.AutoIDs, when: contains("not enough unused IDs in user namespace")},
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

// requested matches what storage says of a file in an image whose owner isn't mapped.
var requested = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`requested (\d+):(\d+) for ([^)]+)\)`)
})

// imageOwner says which file of an image belongs to whom, and what would be needed.
func imageOwner(_ error, text string) trouble.Facts {
	facts := trouble.Facts{"detail": strip(text), "more": ""}
	ids, err := diagnose.OwnIDs()
	if m := requested().FindStringSubmatch(text); m != nil && err == nil {
		facts["detail"] = fmt.Sprintf("%s belongs to %s:%s", m[3], m[1], m[2])
		if k := ids.Beyond(m[1], m[2]); k != nil {
			facts["detail"] += fmt.Sprintf(", and of %ss %s", k.Facts["id"][:3], k.Facts["have"])
			facts["more"] = fmt.Sprintf(", at least %s (usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST USER)", k.Facts["need"])
		}
	}
	return facts
}

// noise is what the libraries put in front of the reason: identifiers and the steps on the way.
var noise = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:(?:copying layers and metadata|computing layer digests and building metadata) for container "[0-9a-f]+"|` +
		`initializing (?:source|destination) [^ ]+|unable to copy from source [^ ]+|writing (?:blob|manifest)|while running runtime|adding content to container "[^"]+"|` +
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
