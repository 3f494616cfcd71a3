package engine_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/rlbuild/rlbuild"

// room is one folder of the house and what its code, tests aside, may import besides the standard library.
type room struct {
	name string
	// rooms of ours; only ones further down the table, so that imports point one way
	rooms []string
	// modules and packages of others, each with everything below it
	external []string
	// symbols narrows a package in external to these of its names
	symbols map[string][]string
	// environment says that the room may read the process's environment
	environment bool
	why         string
}

// table is the house from the top down. A new import that fails here is a question about the design, not about this
// table: does the room need to know that at all, or should a room that knows it already do the work?
var table = []room{
	{
		name: "cmd/rlbuild",
		rooms: []string{
			"builtins", "engine", "engine/script", "engine/rootless", "engine/store", "engine/rootfs", "engine/reference",
			"engine/output", "engine/silence", "engine/journal", "engine/trouble", "engine/checkup", "engine/failure",
		},
		external: []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/sirupsen/logrus", "golang.org/x/term",
			"golang.org/x/sys/unix", "github.com/docker/go-units", "go.podman.io/buildah", "go.starlark.net",
		},
		symbols: map[string][]string{
			"go.podman.io/buildah":        {"InitReexec"},
			"go.podman.io/buildah/define": {"Version"},
		},
		environment: true,
		why: "It puts all rooms together and hands the environment down as values. Of buildah it knows that main must give " +
			"way to the library's helper processes first, and the version; of Starlark, the literals in arg calls that " +
			"--help shows.",
	},
	{
		name:        "cmd/bench",
		external:    []string{"github.com/klauspost/pgzip"},
		environment: true,
		why: "It measures what a user gets from the commands, so it runs them, and passes its environment on to them. " +
			"The compressor is a floor.",
	},
	{
		name: "builtins",
		rooms: []string{
			"engine", "engine/script", "engine/rootfs", "engine/reference", "engine/output", "engine/failure",
		},
		external: []string{"go.starlark.net"},
		why:      "It translates between the script and the engine; a container library here would be a second engine.",
	},
	{
		name: "engine",
		rooms: []string{
			"engine/rootless", "engine/store", "engine/sandbox", "engine/layer", "engine/transfer", "engine/compress",
			"engine/gpg", "engine/diagnose", "engine/agent",
			"engine/ociarchive", "engine/rootfs", "engine/reference", "engine/output", "engine/silence", "engine/reach", "engine/filesystem",
			"engine/journal",
			"engine/trouble", "engine/checkup", "engine/failure",
		},
		external: []string{
			"go.podman.io/buildah", "go.podman.io/storage", "go.podman.io/common", "go.podman.io/image/v5",
			"github.com/containers/ocicrypt", "github.com/docker/distribution/registry/api", "github.com/docker/go-units",
			"github.com/mattn/go-shellwords",
			"github.com/moby/sys/userns", "github.com/opencontainers", "github.com/openshift/imagebuilder",
			"github.com/sirupsen/logrus", "github.com/spf13/pflag",
			"golang.org/x/crypto/ssh", "golang.org/x/sync/semaphore", "golang.org/x/sys",
		},
		symbols: map[string][]string{"github.com/spf13/pflag": {"NewFlagSet", "ContinueOnError"}},
		why: "It alone drives buildah's library. Without Starlark and flags it can be driven by anything else; a set of flags " +
			"is how the library takes the options of scanners and user namespaces, and splitting words how it reads commands; what registries " +
			"refuse comes as the codes of their API.",
	},
	{
		name:     "engine/script",
		rooms:    []string{"engine/failure"},
		external: []string{"go.starlark.net"},
		why:      "It runs any script with any builtins, so it can't know which there are.",
	},
	{
		name:        "engine/rootless/rootlesstest",
		rooms:       []string{"engine/rootless", "engine/failure"},
		environment: true,
		why:         "Only tests import it. Continuous integration says in the environment whether a suite may be skipped.",
	},
	{
		name:  "engine/rootless",
		rooms: []string{"engine/filesystem", "engine/trouble", "engine/checkup", "engine/failure"},
		external: []string{
			"go.podman.io/storage/pkg/unshare", "go.podman.io/storage/pkg/idtools", "go.podman.io/storage/pkg/homedir",
			"github.com/moby/sys/capability", "github.com/opencontainers/runtime-spec/specs-go", "golang.org/x/sys",
		},
		environment: true,
		why: "It runs before anything else and decides what the environment is for the rest. It takes storage's readers of " +
			"ID files and maps, never the store; the runtime's spec is the type of those maps.",
	},
	{
		name: "engine/store",
		rooms: []string{
			"engine/rootfs", "engine/reach", "engine/filesystem", "engine/journal", "engine/trouble", "engine/checkup", "engine/failure",
		},
		external: []string{
			"go.podman.io/storage", "github.com/vbatts/tar-split/tar/storage", "github.com/sirupsen/logrus", "golang.org/x/sys",
		},
		why: "It opens what storage offers; where images come from and go to is none of its business.",
	},
	{
		name:  "engine/diagnose",
		rooms: []string{"engine/sandbox", "engine/rootfs", "engine/reach", "engine/filesystem", "engine/trouble"},
		external: []string{
			"go.podman.io/storage/pkg/unshare", "github.com/opencontainers/runtime-spec/specs-go", "golang.org/x/sys",
		},
		why: "It is given the facts of a failure and looks at files, so that it can be tested without a container. Of the store's " +
			"library it takes the reader of this process's ID maps; the runtime's spec is the type of those maps.",
	},
	{
		name:  "engine/sandbox",
		rooms: []string{"engine/rootfs"},
		external: []string{
			"go.podman.io/common/pkg/seccomp", "github.com/opencontainers/runtime-spec/specs-go",
			"github.com/seccomp/libseccomp-golang", "github.com/moby/sys/capability", "golang.org/x/sys",
		},
		why: "It holds what is hostile, so it is small enough to audit; of the containers tools it takes the profile of " +
			"system calls, which it must not have a copy of.",
	},
	{
		name: "engine/layer",
		external: []string{
			"go.podman.io/storage/pkg/archive", "go.podman.io/storage/pkg/system", "go.podman.io/storage/pkg/unshare",
			"github.com/vbatts/tar-split/tar/storage", "github.com/opencontainers/go-digest", "golang.org/x/sys",
		},
		why: "It makes the bytes that storage would make and can be held against it without a store.",
	},
	{
		name:     "engine/transfer",
		rooms:    []string{"engine/rootfs"},
		external: []string{"go.podman.io/storage/pkg/fileutils", "github.com/tonistiigi/dchapes-mode", "golang.org/x/sys"},
		why: "It knows trees and entries, which rootfs keeps it inside of; of the containers tools it takes the patterns of a " +
			".containerignore and what chmod(1) takes, which it must not have readings of its own of.",
	},
	{
		name: "engine/rootfs",
		external: []string{
			"github.com/cyphar/filepath-securejoin/pathrs-lite", "github.com/bmatcuk/doublestar/v4", "golang.org/x/sys",
		},
		why: "Hostile files meet it first: small enough to audit, and nothing of ours below it.",
	},
	{
		name:     "engine/reference",
		rooms:    []string{"engine/failure"},
		external: []string{"go.podman.io/image/v5"},
		symbols: map[string][]string{
			"go.podman.io/image/v5/docker":  {}, // the network
			"go.podman.io/image/v5/storage": {}, // the store
		},
		why: "A name is parsed the same with no network and no store, and tested so.",
	},
	{
		name:     "engine/output",
		rooms:    []string{"engine/failure"},
		external: []string{"golang.org/x/sys", "golang.org/x/term"},
		why:      "Lines and bytes; what makes them is not its business.",
	},
	{
		name:     "engine/silence",
		external: []string{"golang.org/x/sys"},
		why:      "It knows connections and whether bytes move; who is at their other end, and what for, errors say.",
	},
	{
		name:     "engine/compress",
		external: []string{"github.com/klauspost/compress/zstd", "github.com/klauspost/pgzip"},
		why:      "Bytes in, fewer bytes out; whose they are and where they go is not its business.",
	},
	{
		name:     "engine/ociarchive",
		external: []string{"github.com/opencontainers/go-digest", "github.com/opencontainers/image-spec/specs-go"},
		why:      "It knows a file format and nothing else, so that it can be read beside the specification.",
	},
	{
		name:     "engine/gpg",
		rooms:    []string{"engine/failure"},
		external: []string{"go.podman.io/image/v5"},
		why:      "It is a key that can sign anything.",
	},
	{
		name:     "engine/agent",
		external: []string{"go.podman.io/buildah", "github.com/opencontainers/selinux", "golang.org/x/crypto/ssh"},
		why:      "What steps may ask of the user's keys is decided here alone. The library reads the keys.",
	},
	{
		name:     "engine/reach",
		external: []string{"golang.org/x/sys"},
		why:      "Paths, modes and owners, which several rooms ask about; what a path is for is theirs to know.",
	},
	{
		name:     "engine/filesystem",
		external: []string{"golang.org/x/sys"},
		why:      "One reading of statfs(2) for all who ask; what is too little, and for what, is theirs to know.",
	},
	{
		name:     "engine/journal",
		external: []string{"golang.org/x/sys"},
		why: "Locks, lines and processes: who may reclaim what must be decidable without a store, and be small enough to be " +
			"believed.",
	},
	{
		name:  "engine/trouble",
		rooms: []string{"engine/failure"},
		why:   "Sentences alone, so that hints, README and tests have one source; recognising a trouble takes facts that others have.",
	},
	{
		name: "engine/checkup",
		why:  "A type that every room with something to check can return.",
	},
	{
		name: "engine/failure",
		why:  "Every room imports it, so what it imported all would.",
	},
}

// outside are folders whose Go code isn't rlbuild's: fixtures, and programs that the examples put into images.
var outside = []string{"examples", "testdata"}

// readsEnvironment are the functions that read the process's environment, openly or for a default, or change it.
var readsEnvironment = map[string][]string{
	"os": {
		"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv",
		"TempDir", "UserHomeDir", "UserCacheDir", "UserConfigDir",
	},
	"syscall":               {"Getenv", "Environ", "Setenv", "Unsetenv", "Clearenv"},
	"golang.org/x/sys/unix": {"Getenv", "Environ", "Setenv", "Unsetenv", "Clearenv"},
}

// TestImports holds every room to the table.
func TestImports(t *testing.T) {
	rooms := byName(t)
	found := goFiles(t)
	for name := range rooms {
		if len(found[name]) == 0 {
			t.Errorf("room %s is in the table but has no Go files", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		r, ok := rooms[name]
		if !ok {
			t.Errorf("room %s has Go files (%s) and no entry in the table", name, strings.Join(found[name], ", "))
			continue
		}
		for _, file := range found[name] {
			for _, complaint := range check(t, r, file) {
				t.Errorf("room %s: %s: %s\nthe room's rule: %s", name, file, complaint, r.why)
			}
		}
	}
}

// TestRoomsAreDescribed holds doc.go to the table: one list entry per room, and no entry for a room that isn't there.
func TestRoomsAreDescribed(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	rooms := byName(t)
	described := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^//   - (\S+) `).FindAllStringSubmatch(string(text), -1) {
		described[match[1]] = true
		if _, ok := rooms[match[1]]; !ok {
			t.Errorf("doc.go describes %s, which is no room", match[1])
		}
	}
	for name := range rooms {
		if !described[name] {
			t.Errorf("doc.go doesn't describe room %s: it wants a list entry %q", name, "//   - "+name+" does …")
		}
	}
}

// byName indexes the table and checks the table itself.
func byName(t *testing.T) map[string]room {
	t.Helper()
	rooms := map[string]room{}
	for _, r := range slices.Backward(table) {
		for _, below := range r.rooms {
			if _, ok := rooms[below]; !ok {
				t.Errorf("the table lets %s import %s, which is not below it", r.name, below)
			}
		}
		if _, twice := rooms[r.name]; twice || r.why == "" {
			t.Errorf("the table's entry %s is there twice or gives no reason", r.name)
		}
		rooms[r.name] = r
	}
	return rooms
}

// goFiles returns the module's Go files, tests aside, by folder, as paths from the module's root.
func goFiles(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			hidden := name != "." && strings.HasPrefix(entry.Name(), ".")
			if hidden || slices.Contains(outside, name) || entry.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			found[path.Dir(name)] = append(found[path.Dir(name)], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// check returns what file does that its room may not. Every file counts, whatever its build tags.
func check(t *testing.T, r room, file string) (complaints []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", file), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string]string{} // by the name that the file uses
	for _, spec := range parsed.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		imports[localName(spec, imported)] = imported
		if !r.mayImport(imported) {
			complaints = append(complaints, "may not import "+imported)
		}
		narrowed := len(r.symbols[imported]) > 0 || len(readsEnvironment[imported]) > 0
		if spec.Name != nil && spec.Name.Name == "." && narrowed {
			complaints = append(complaints, "may not import all names of "+imported)
		}
	}
	ast.Inspect(parsed, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		from, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		imported, used := imports[from.Name], selector.Sel.Name
		if allowed, narrowed := r.symbols[imported]; narrowed && !slices.Contains(allowed, used) {
			complaints = append(complaints, "may not use "+imported+"."+used)
		}
		if !r.environment && slices.Contains(readsEnvironment[imported], used) {
			complaints = append(complaints, "may not reach for the environment with "+imported+"."+used+": take a value")
		}
		return true
	})
	return complaints
}

// mayImport tells whether the table lets the room import a package.
func (r room) mayImport(imported string) bool {
	if name, ours := strings.CutPrefix(imported, module+"/"); ours {
		return slices.Contains(r.rooms, name)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true // the standard library, and "C"
	}
	if names, narrowed := r.symbols[imported]; narrowed && len(names) == 0 {
		return false
	}
	return slices.ContainsFunc(r.external, func(prefix string) bool {
		return imported == prefix || strings.HasPrefix(imported, prefix+"/")
	})
}

// localName returns the name by which a file refers to an import. Without type checking the package's own name is a
// guess: the path's last part that isn't a version. It is right for every package whose names the table narrows.
func localName(spec *ast.ImportSpec, imported string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	if version := regexp.MustCompile(`/v[0-9]+$`); version.MatchString(imported) {
		imported = path.Dir(imported)
	}
	return path.Base(imported)
}
