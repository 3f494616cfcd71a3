package script

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// file is one parsed source file.
type file struct {
	name    string // as positions show it
	rel     string // slash separated, from "//"; the file's identity
	dir     string // the directory its own relative names start from
	library bool   // reached by load
	source  []byte
	marks   []mark       // of source, once they are needed
	tree    *syntax.File // nil when the text doesn't parse
	program *starlark.Program
	loads   map[string]*file // by the string in the load statement
	via     []syntax.Position
	found   Problems
}

// loader parses the entry script and walks its loads, depth first. Loads are statements with literal operands at the top
// level, so the whole graph is known, and checked, without running anything.
type loader struct {
	opts        Options
	predeclared starlark.StringDict
	files       []*file // in the order they are met
	byRel       map[string]*file
	open        []*file // the chain of files whose loads are being walked
}

func (l *loader) problems() Problems {
	var all Problems
	for _, f := range l.files {
		for _, p := range f.found.inOrder() {
			p.Loads = f.via
			all = append(all, p)
		}
	}
	return all
}

func (l *loader) entry(source []byte) *file {
	f := &file{name: l.opts.Path, rel: filepath.Base(l.opts.Path), dir: l.opts.Dir, source: source}
	l.parse(f)
	return f
}

// parse fills in f and everything it loads.
func (l *loader) parse(f *file) {
	l.files = append(l.files, f)
	l.byRel[f.rel] = f
	l.open = append(l.open, f)
	defer func() { l.open = l.open[:len(l.open)-1] }()

	// Interpreters of editors that save a byte order mark don't show it, so nobody could see what is wrong.
	f.source = bytes.TrimPrefix(f.source, []byte("\ufeff"))
	if !f.isText() {
		return
	}
	f.resolve(l.predeclared, l.opts.Hints)
	if f.tree == nil {
		return
	}
	f.loads = map[string]*file{}
	for _, statement := range f.tree.Stmts {
		if load, ok := statement.(*syntax.LoadStmt); ok {
			if library := l.load(f, load); library != nil {
				f.loads[load.ModuleName()] = library
				f.checkNames(load, library)
			}
		}
	}
}

// isText reports whether the source is UTF-8 without NUL bytes, and records a problem when it isn't: Starlark's scanner
// takes a NUL for the end of the file and would run only what stands before it.
func (f *file) isText() bool {
	for i := 0; i < len(f.source); {
		r, size := utf8.DecodeRune(f.source[i:])
		if f.source[i] == 0 || r == utf8.RuneError && size == 1 {
			line, col := lineCol(f.source, i)
			f.report(syntax.MakePosition(&f.name, line, col), "the file is not UTF-8 text",
				"a script is a Starlark text file, saved as UTF-8")
			return false
		}
		i += size
	}
	return true
}

// maxProblems is how many mistakes of one file are told. A file with more isn't read to the end by anybody.
const maxProblems = 100

// resolve parses, resolves and compiles the text.
func (f *file) resolve(predeclared starlark.StringDict, hints map[string]string) {
	defer func() {
		// Both the resolver and the compiler panic on what they take for impossible.
		if p := recover(); p != nil {
			f.report(syntax.MakePosition(&f.name, 1, 1), fmt.Sprintf("internal error: %v", p), bugHint)
		}
	}()
	options := &syntax.FileOptions{Set: true, TopLevelControl: !f.library}
	tree, err := options.Parse(f.name, f.source, 0)
	if err != nil {
		f.found = append(f.found, explainSyntax(f, err, predeclared, hints))
		return
	}
	f.program, err = starlark.FileProgram(tree, predeclared.Has)
	f.tree = tree
	if wrong := (resolve.ErrorList)(nil); errors.As(err, &wrong) {
		slices.SortStableFunc(wrong, func(a, b resolve.Error) int {
			return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
		})
		for _, e := range wrong[:min(len(wrong), maxProblems)] {
			f.found = append(f.found, explainResolve(f, e, predeclared, hints))
		}
		return
	} else if err != nil {
		f.report(syntax.MakePosition(&f.name, 1, 1), err.Error(), "")
		return
	}
	f.checkOrder(predeclared)
	if sobered := sober(options, f.name, f.source, tree); sobered != nil {
		if program, err := starlark.FileProgram(sobered, predeclared.Has); err == nil {
			f.program = program
		}
	}
}

func (f *file) report(pos syntax.Position, message, hint string) {
	f.found = append(f.found, Problem{Pos: pos, Message: message, Hint: hint})
}

// load returns the library that a load statement of f names, parsed, or nil with the problem recorded at the statement.
func (l *loader) load(f *file, statement *syntax.LoadStmt) *file {
	module, pos := statement.ModuleName(), statement.Module.TokenPos
	rel, message, hint := locate(f.rel, module)
	if message != "" {
		f.report(pos, message, hint)
		return nil
	}
	if library := l.byRel[rel]; library != nil {
		if i := slices.Index(l.open, library); i >= 0 {
			f.report(pos, "files load each other: "+chain(l.open[i:], library),
				"move what they share into a file of its own, and load that from both")
			return nil
		}
		return library
	}
	library := &file{
		name:    filepath.Join(filepath.Dir(l.opts.Path), filepath.FromSlash(rel)),
		rel:     rel,
		library: true,
		via:     append(slices.Clip(f.via), pos),
	}
	file := filepath.Join(l.opts.Dir, filepath.FromSlash(rel))
	library.dir = filepath.Dir(file)
	var err error
	if library.source, err = readLibrary(file); err != nil {
		message := fmt.Sprintf("load %q: reading %s: %v", module, library.name, cause(err))
		f.report(pos, message, l.missing(module, file, err))
		return nil
	}
	l.parse(library)
	return library
}

// locate returns where module leads from the file at rel, slash separated and relative to "//", or why it leads nowhere.
func locate(rel, module string) (at, message, hint string) {
	refuse := func(why, hint string) (string, string, string) {
		return "", fmt.Sprintf("load %q: %s", module, why), hint
	}
	const forms = `name a file relative to this one, as in load("lib/x.star", "f"), ` +
		`or from the script's directory, as in load("//lib/x.star", "f")`
	switch {
	case module == "":
		return refuse("no file is named", forms)
	case strings.ContainsRune(module, 0):
		return refuse("a file name can't hold a NUL character", "")
	case strings.HasPrefix(module, "@") || strings.Contains(module, "://"):
		return refuse("libraries are local files", forms)
	case strings.HasPrefix(module, "//"):
		at = path.Clean(strings.TrimLeft(module, "/"))
	case strings.HasPrefix(module, "/"):
		return refuse("absolute paths can't be loaded", forms)
	default:
		at = path.Join(path.Dir(rel), module)
	}
	if at == ".." || strings.HasPrefix(at, "../") {
		return refuse("leads out of the entry script's directory",
			"keep libraries in the entry script's directory or below it")
	}
	if at == "." || strings.HasSuffix(module, "/") {
		return refuse("names a directory", forms)
	}
	return at, "", ""
}

// readLibrary returns the text of a library. The entry script may come through a pipe, as from a shell's <(…); a library
// that is one would hold everything up until somebody writes to it.
func readLibrary(file string) ([]byte, error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, errors.New("not a regular file")
	}
	return readSource(file)
}

// missing returns a hint for a library that can't be read: the name it is likely found under.
func (l *loader) missing(module, file string, err error) string {
	if !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if near := nearFile(file); near != "" {
		return fmt.Sprintf("did you mean %q?", module[:strings.LastIndex(module, "/")+1]+near)
	}
	if !filepath.IsLocal(module) {
		return ""
	}
	if info, err := os.Stat(filepath.Join(l.opts.Dir, module)); err == nil && info.Mode().IsRegular() {
		return fmt.Sprintf(`did you mean "//%s"? Names without // are relative to the file that loads them`, module)
	}
	return ""
}

// chain names the files of a load cycle: "a.star -> b.star -> a.star".
func chain(open []*file, closing *file) string {
	var names []string
	for _, f := range open {
		names = append(names, f.name)
	}
	return strings.Join(append(names, closing.name), " -> ")
}

// checkNames records a problem for each name that a load statement of f asks for and library doesn't define.
func (f *file) checkNames(statement *syntax.LoadStmt, library *file) {
	if library.tree == nil || library.tree.Module == nil {
		return // the library's own problems say more
	}
	var names []string
	for _, global := range library.tree.Module.(*resolve.Module).Globals {
		names = append(names, global.First.Name)
	}
	for _, from := range statement.From {
		name := from.Name
		if name == "" || strings.HasPrefix(name, "_") || slices.Contains(names, name) {
			continue // the resolver reports the first two
		}
		exported := slices.DeleteFunc(slices.Clone(names), func(s string) bool { return strings.HasPrefix(s, "_") })
		hint := library.name + " defines no names"
		if origin := library.loaded(name); origin != "" {
			hint = fmt.Sprintf("%s loads it itself and doesn't pass it on; load it from %q", library.name, origin)
		} else if near := Nearest(name, exported); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		} else if len(exported) > 0 {
			slices.Sort(exported)
			hint = fmt.Sprintf("%s defines %s", library.name, enumerate(exported))
		}
		f.report(from.NamePos, fmt.Sprintf("load: name %s not found in %s", name, library.name), hint)
	}
}

// loaded returns the file that f's own load statement takes name from, or "".
func (f *file) loaded(name string) string {
	for _, statement := range f.tree.Stmts {
		if load, ok := statement.(*syntax.LoadStmt); ok {
			for _, to := range load.To {
				if to.Name != name {
					continue
				}
				if origin := f.loads[load.ModuleName()]; origin != nil {
					return "//" + origin.rel
				}
				return load.ModuleName()
			}
		}
	}
	return ""
}

// enumerate joins at most eight names.
func enumerate(names []string) string {
	if len(names) > 8 {
		names = append(slices.Clone(names[:8]), "…")
	}
	return strings.Join(names, ", ")
}
