// Package builtins is the script language's vocabulary: the verbs, each in a file of its own, and the values they take
// and give. A verb checks and converts its arguments and leaves the work to the engine.
package builtins

import (
	"errors"
	"io"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/script"
)

// Options say what the verbs work with.
type Options struct {
	Script string            // the entry script's path, as positions show it
	Dir    string            // where relative paths start; absolute
	Args   map[string]string // NAME=VALUE from the command line
	Env    map[string]string // the environment rlbuild was started with
	Input  io.Reader         // standard input, nil if the script comes from there
}

// verbs is the table of all builtins, in the order in which help lists them.
func verbs() []*verb {
	return []*verb{
		fromVerb, mountVerb, umountVerb, runVerb, bindVerb, cacheVerb, tmpfsVerb, secretVerb, sshVerb, hostVerb,
		copyVerb, addVerb, configVerb(), commitVerb, buildVerb(),
		pushVerb, pullVerb, manifestVerb, instanceVerb, artifactVerb,
		tagVerb, untagVerb, renameVerb, removeVerb, imagesVerb, containersVerb, inspectVerb, historyVerb,
		argVerb, envVerb, stdinVerb, globVerb, pathVerb,
	}
}

// Session is what the verbs of one run share. Its builtins can be named at once, and called after Start.
type Session struct {
	options Options
	open    func() (*engine.Builder, error)
	engine  *engine.Builder // nil before the first verb that has an effect
	host    *rootfs.FS
}

// New returns a session that has yet to be started.
func New(options Options) *Session { return &Session{options: options} }

// Start tells the session how to open the engine that does the work, which it does when a verb first needs it. Start fails
// when the host's root directory can't be opened. Close the session after the run and before the engine.
func (s *Session) Start(open func() (*engine.Builder, error)) error {
	host, err := rootfs.Open("/")
	if err != nil {
		return failure.New("opening", "/", "%w", err)
	}
	s.open, s.host = open, host
	return nil
}

// begin opens the engine.
func (s *Session) begin() (err error) {
	if s.engine == nil {
		s.engine, err = s.open()
	}
	return err
}

// Close releases what the session holds open.
func (s *Session) Close() error { return s.host.Close() }

// Predeclared returns the builtins by name.
func (s *Session) Predeclared() starlark.StringDict {
	names := starlark.StringDict{}
	for _, v := range verbs() {
		names[v.name] = starlark.NewBuiltin(v.name, func(thread *starlark.Thread, _ *starlark.Builtin,
			args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			return v.invoke(s, thread, nil, args, kwargs)
		})
	}
	return names
}

// Hints says what to write instead of names that people bring along from other tools and languages.
func Hints() map[string]string {
	return map[string]string{
		"open":    "read and write files with path(...).read() and path(...).write(...).",
		"read":    "standard input is read with stdin(), a file with path(...).read().",
		"input":   "take values from the command line: arg(\"name\", default = ...)",
		"system":  "run host commands with host([...]).",
		"unmount": "the builtin is spelled umount.",
		"rm":      "the builtin is spelled remove.",
		"rmi":     "the builtin is spelled remove.",
		"ps":      "the builtin is spelled containers.",
		"os":      "the environment is read with env(\"NAME\"), files with path(...).",
	}
}

// errLoading is what a verb answers while a library's top level runs.
var errLoading = errors.New("can't be called while a library loads")

// invoke binds the arguments and does the verb.
func (v *verb) invoke(s *Session, thread *starlark.Thread, receiver starlark.Value, args starlark.Tuple,
	kwargs []starlark.Tuple) (starlark.Value, error) {
	if !v.pure && script.Loading(thread) {
		return nil, failure.New("", v.name, "%w", errLoading).
			WithHint("a library has no effect when it is loaded: put the call into a function and call that from the script.")
	}
	end, err := script.Begin(thread)
	if err != nil {
		return nil, err
	}
	defer end()
	c := &call{verb: v, session: s, thread: thread, receiver: receiver}
	if err := c.bind(args, kwargs); err != nil {
		return nil, err
	}
	if !v.pure {
		if err := s.begin(); err != nil {
			return nil, err
		}
		if err := s.engine.Ready(); err != nil {
			return nil, err
		}
	}
	value, err := c.do()
	if err != nil {
		return nil, err
	}
	if value == nil {
		return starlark.None, nil
	}
	return value, nil
}

// do does the verb. It looks at what the engine needs when that fails: the library panics where it can't lock a store.
func (c *call) do() (value starlark.Value, err error) {
	e := c.session.engine
	defer func() {
		if v := recover(); v != nil {
			if e == nil {
				panic(v)
			}
			if err = e.Panicked(); err == nil {
				panic(v)
			}
		}
	}()
	value, err = c.verb.do(c)
	if err != nil && e != nil {
		err = e.Examine(c.verb.name, err)
	}
	return value, err
}
