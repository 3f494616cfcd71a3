// Package trouble is the table of the known ways for a rootless build to fail: what a user sees, why it happens, and what to
// do about it. The hints of error messages and the table in the README are both made of it. Which of them an error is,
// the rooms decide that have the facts at hand.
package trouble

import (
	"errors"
	"strings"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Trouble is one known way to fail. In Why and Cure, {name} stands for a fact of the case at hand.
type Trouble struct {
	Name string // in lower case with hyphens; tests name the fault by it
	See  string // what a user would see without the explanation, for the README
	Why  string // lower case, no full stop: the reason in the error message
	Cure string // a sentence
	Kind failure.Kind
}

// Group is a part of the table.
type Group struct {
	Title    string
	Troubles []*Trouble
}

// Table returns all of it, in the README's order.
func Table() []Group {
	return []Group{registryTroubles, imageTroubles, configurationTroubles, diskTroubles, ownerTroubles, stepTroubles, machineTroubles}
}

// Facts are the values of a Trouble's {names}. "detail", if the texts don't use it, is left out.
type Facts map[string]string

// explained is a reason for people with the error that it was found in.
type explained struct {
	text  string
	cause error
}

func (e explained) Error() string { return e.text }
func (e explained) Unwrap() error { return e.cause }

// Explain returns the error that says what is the trouble with op on subject. cause, which may be nil, is found in it by
// errors.Is, and isn't printed.
func (t *Trouble) Explain(op, subject string, cause error, facts Facts) *failure.Error {
	return &failure.Error{Op: op, Subject: subject, Err: t.Reason(cause, facts), Hint: facts.fill(t.Cure), Kind: t.Kind}
}

// Reason returns Why as an error in which cause is found.
func (t *Trouble) Reason(cause error, facts Facts) error {
	text := facts.fill(t.Why)
	if cause == nil {
		return errors.New(text)
	}
	return explained{text, cause}
}

// Hint returns Cure with the facts filled in.
func (t *Trouble) Hint(facts Facts) string { return facts.fill(t.Cure) }

func (f Facts) fill(text string) string {
	var pairs []string
	for name, value := range f {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
