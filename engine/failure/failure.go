// Package failure is the error every room of rlbuild speaks: one that names what was tried, on what, why it failed and
// what the user can do about it.
package failure

import (
	"errors"
	"fmt"
	"regexp"
	"sync"
)

// Kind says whose turn it is to act, and so which exit status the process ends with.
type Kind int

const (
	// Script is the zero value: the script, or a step of it, failed. Exit status 1.
	Script Kind = iota
	// Usage means that the command line or the script's text is wrong; nothing was run. Exit status 2.
	Usage
	// Machine means that this machine can't run rootless builds as asked. Exit status 3.
	Machine
	// Interrupted means that a signal ended the run. Exit status 128 plus Error.Signal.
	Interrupted
)

// Error is one failure. Only Err is required; what is empty is left out of the message.
type Error struct {
	Op      string   // the verb that was tried: "pull", "run", "opening the store"
	Subject string   // what it acted on: an image name, a path, an option
	Err     error    // why it failed; lower case, no trailing full stop
	Hint    string   // what to do about it, a sentence; printed on a line of its own
	Output  []string // the last lines a failed command printed, oldest first
	Kind    Kind
	Signal  int // the signal's number, for Interrupted
}

// Error returns "op subject: why", with anything that looks like a credential replaced.
func (e *Error) Error() string {
	message := ""
	if e.Err != nil {
		message = e.Err.Error()
	}
	what := e.Op
	if e.Subject != "" {
		if what != "" {
			what += " "
		}
		what += e.Subject
	}
	if what != "" && message != "" {
		message = what + ": " + message
	} else if message == "" {
		message = what
	}
	return Redact(message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an Error of kind Script whose cause is the formatted message; %w wraps.
func New(op, subject, format string, args ...any) *Error {
	return &Error{Op: op, Subject: subject, Err: fmt.Errorf(format, args...)}
}

// WithHint sets the hint and returns the same error.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithKind sets the kind and returns the same error.
func (e *Error) WithKind(kind Kind) *Error {
	e.Kind = kind
	return e
}

// HintOf returns the outermost hint in err's chain, or "".
func HintOf(err error) string {
	for e := (*Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Hint != "" {
			return Redact(e.Hint)
		}
	}
	return ""
}

// OutputOf returns the outermost output lines in err's chain, or nil.
func OutputOf(err error) []string {
	for e := (*Error)(nil); errors.As(err, &e); err = e.Err {
		if len(e.Output) > 0 {
			return e.Output
		}
	}
	return nil
}

// Status returns the exit status that err calls for: 0 for nil, else the one of the first Error in its chain whose kind
// is not Script, else 1.
func Status(err error) int {
	if err == nil {
		return 0
	}
	for e := (*Error)(nil); errors.As(err, &e); err = e.Err {
		switch e.Kind {
		case Usage:
			return 2
		case Machine:
			return 3
		case Interrupted:
			return 128 + e.Signal
		}
	}
	return 1
}

type credential struct {
	pattern *regexp.Regexp
	with    string
}

// credentials are compiled when there is an error to print, not whenever the program starts.
var credentials = sync.OnceValue(func() []credential {
	return []credential{
		// scheme://user:password@host, as registries and proxies are often written
		{regexp.MustCompile(`(://)[^/\s@"']+@`), "${1}[redacted]@"},
		// HTTP headers that a transport quotes in its errors
		{regexp.MustCompile(`(?i)\b(authorization:\s*)(basic|bearer)?\s*\S+`), "${1}[redacted]"},
		{regexp.MustCompile(`(?i)\b(basic|bearer) [A-Za-z0-9+/=._~-]{8,}`), "${1} [redacted]"},
		// query strings and key=value pairs
		{regexp.MustCompile(`(?i)\b(password|passwd|token|secret|access_token|refresh_token|client_secret|x-amz-signature)=[^&\s"'…]+`), "${1}=[redacted]"},
	}
})

// Redact replaces what looks like a credential in text: user information in URLs, authorization headers, and the values
// of keys such as password and token.
func Redact(text string) string {
	for _, c := range credentials() {
		text = c.pattern.ReplaceAllString(text, c.with)
	}
	return text
}
