// Package script hosts the Starlark interpreter: it reads a script and the libraries it loads, says what is wrong with
// their text before anything runs, runs them, and turns whatever fails into an error with a position at every level.
//
// It knows the language and not which verbs exist: those come as predeclared values.
package script

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"go.starlark.net/lib/math"
	"go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// MaxSource is how much text one file may hold. It is far above any script, keeps a device or an endless pipe given by
// mistake from filling the memory, and keeps the resolver, which recurses over expressions, within Go's stack.
const MaxSource = 1 << 20

// Options says what to run and what it may use.
type Options struct {
	Path        string              // the entry script as the user named it; positions show it so ("-" and "-c" are names too)
	Source      []byte              // the entry script's text; nil reads Path
	Dir         string              // where "//" and the entry script's own loads start; "" is the directory of Path
	Predeclared starlark.StringDict // the builtins, on top of Universe
	Print       func(line string)   // receives what print prints, without a newline; nil drops it
	Debug       func(text string)   // receives the Go stack of a builtin that panicked; nil drops it
	Limits      Limits              // what a run may take
	Hints       map[string]string   // what to write instead of a name that nothing defines or a reserved word, a sentence each
}

// Program is a script that parsed and resolved, together with every library it loads. It may be run more than once.
type Program struct {
	opts        Options
	predeclared starlark.StringDict
	entry       *file
	files       map[string]*file // by the name that positions show
}

// Universe returns what every script has besides Starlark's own universe: json, math, time and struct.
func Universe() starlark.StringDict {
	return starlark.StringDict{
		"json":   jsonModule(),
		"math":   math.Module,
		"time":   time.Module,
		"struct": starlark.NewBuiltin("struct", starlarkstruct.Make),
	}
}

// Parse reads, parses and resolves the entry script and, before anything runs, all libraries that are loaded from it.
// Its error is a *failure.Error of kind Usage. When the texts are wrong it wraps Problems, which holds every mistake
// with its position and hint; the error's own hint is the first of those.
func Parse(opts Options) (*Program, error) {
	if opts.Dir == "" {
		opts.Dir = filepath.Dir(opts.Path)
	}
	source := opts.Source
	if source == nil {
		var err error
		if source, err = readSource(opts.Path); err != nil {
			return nil, unreadable(opts.Path, err)
		}
	}
	if len(source) > MaxSource {
		return nil, failure.New("reading", opts.Path, "%w", errTooLarge).WithKind(failure.Usage)
	}
	predeclared := withGulpers(Universe())
	maps.Copy(predeclared, guarded(opts.Predeclared))

	l := &loader{opts: opts, predeclared: predeclared, byRel: map[string]*file{}}
	entry := l.entry(source)
	if problems := l.problems(); len(problems) > 0 {
		return nil, problems.failure()
	}
	p := &Program{opts: opts, predeclared: predeclared, entry: entry, files: map[string]*file{}}
	for _, f := range l.files {
		p.files[f.name] = f
	}
	return p, nil
}

// readSource returns the text of the file at path.
func readSource(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSource+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxSource {
		return nil, errTooLarge
	}
	return text, nil
}

var errTooLarge = fmt.Errorf("larger than %d MiB", MaxSource>>20)

// unreadable explains why the entry script can't be read.
func unreadable(path string, err error) error {
	failed := (&failure.Error{Op: "reading", Subject: path, Err: cause(err)}).WithKind(failure.Usage)
	if !errors.Is(err, fs.ErrNotExist) {
		return failed
	}
	if near := nearFile(path); near != "" {
		return failed.WithHint("did you mean %s?", filepath.Join(filepath.Dir(path), near))
	}
	return failed.WithHint(`a script is a file, "-" for standard input, or a line after -c`)
}

// cause strips the operation and path that the os package puts before its errors: the caller names both.
func cause(err error) error {
	if wrapped := (*fs.PathError)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// nearFile returns the name of the file beside path that path most likely means, or "".
func nearFile(path string) string {
	base := filepath.Base(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if e.Name() == base+".star" {
			return e.Name()
		}
		if strings.HasSuffix(e.Name(), ".star") {
			names = append(names, e.Name())
		}
	}
	return Nearest(base, names)
}

// Doc returns the entry script's docstring without its indentation, or "".
func (p *Program) Doc() string {
	if len(p.entry.tree.Stmts) == 0 {
		return ""
	}
	statement, ok := p.entry.tree.Stmts[0].(*syntax.ExprStmt)
	if !ok {
		return ""
	}
	literal, ok := statement.X.(*syntax.Literal)
	if !ok || literal.Token != syntax.STRING {
		return ""
	}
	return dedent(literal.Value.(string))
}

// dedent removes the indentation that all lines but the first share, and blank space around the whole.
func dedent(text string) string {
	lines := strings.Split(text, "\n")
	indent := -1
	for _, line := range lines[1:] {
		if trimmed := strings.TrimLeft(line, " \t"); trimmed != "" {
			if n := len(line) - len(trimmed); indent < 0 || n < indent {
				indent = n
			}
		}
	}
	for i, line := range lines {
		if i > 0 {
			line = line[min(max(indent, 0), len(line)):]
		}
		lines[i] = strings.TrimRight(line, " \t\r")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
