package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
	"go.podman.io/buildah"
	"golang.org/x/sys/unix"
)

// requireNamespaces, when set in the environment, makes missing namespaces a failure; continuous integration sets it.
const requireNamespaces = "RLBUILD_REQUIRE_NAMESPACES"

// commands are what scripts can call by name, each a program of its own.
var commands = map[string]func(){
	"rlbuild": main, "signal": signalMain, "describe": describeMain, "setxattr": setxattrMain, "serve": serveMain,
	"faulty": faultyMain, "checkstore": checkstoreMain, "refusing": refusingMain, "stall": stallMain, "hostile": hostileMain,
}

func TestMain(m *testing.M) {
	// Buildah's helper processes are this binary as well, told apart by argv[0] alone.
	if buildah.InitReexec() {
		return
	}
	testscript.Main(unignoring{m}, commands)
}

// suite is one run over a folder of scripts.
type suite struct {
	dir    string // below testdata
	driver string // of the store
	root   bool   // run by root, whose own store is the machine's
	path   string // PATH instead of the caller's

	victim   *user.User // run by root, about this ordinary user, in a directory of the user's; nil for the caller
	workRoot string     // below which the scripts' directories are; "" for the usual place
}

func TestOverlay(t *testing.T) { ordinary(t, suite{dir: "script", driver: "overlay"}) }

func TestVFS(t *testing.T) { ordinary(t, suite{dir: "script", driver: "vfs"}) }

// TestNested starts rlbuild where the namespaces are entered already.
func TestNested(t *testing.T) { ordinary(t, suite{dir: "nested", driver: "overlay"}) }

// TestSingle takes newuidmap and newgidmap out of PATH, which leaves one ID to map.
func TestSingle(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "bin")
	if err := linkCommands(bin, os.Getenv("PATH"), "newuidmap", "newgidmap"); err != nil {
		t.Fatal(err)
	}
	own, _, _ := strings.Cut(os.Getenv("PATH"), ":") // where testscript.Main put rlbuild
	ordinary(t, suite{dir: "single", driver: "overlay", path: own + ":" + bin})
}

func TestRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run this")
	}
	t.Parallel()
	runSuite(t, suite{dir: "root", driver: "overlay", root: true})
}

// ordinary runs a suite that is about ordinary users. All suites are one heap of scripts: many of those wait most of the time.
func ordinary(t *testing.T, s suite) {
	needUser(t)
	t.Parallel()
	runSuite(t, s)
}

// needUser skips the test for root, and where an ordinary user has no namespaces: but there it fails if it has to.
func needUser(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("an ordinary user runs this; `make test` takes one when root calls it")
	}
	if err := namespaces(); err != nil {
		if os.Getenv(requireNamespaces) != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// namespaces says why this user can't have a user namespace with a range of IDs, or nil.
func namespaces() error {
	for _, name := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(name); err != nil {
			return err
		}
	}
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("no user namespaces here: %w", err)
	}
	return nil
}

func runSuite(t *testing.T, s suite) {
	params := s.params(t)
	params.Dir = filepath.Join("../../testdata", s.dir)
	testscript.Run(t, params)
}

// params are what the scripts of a suite run with; which scripts those are is the caller's to add.
func (s suite) params(t *testing.T) testscript.Params {
	peer := os.Getenv("RLBUILD_PEER")
	if peer == "" {
		t.Fatal("RLBUILD_PEER must name the buildah to compare with; `make test` builds it and sets this")
	}
	base := filepath.Join(s.workRoot, "base.tar")
	if s.workRoot == "" {
		base = filepath.Join(t.TempDir(), "base.tar")
	}
	if err := writeBase(base); err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	shared := []string{
		"PEER=" + peer, "BASE=" + base, "EXAMPLES=" + examples, "STORAGE_DRIVER=" + s.driver,
		"LANG=C.UTF-8", "USER=" + os.Getenv("USER"), "LOGNAME=" + os.Getenv("USER"),
		"UID=" + fmt.Sprint(os.Getuid()),
		// The examples compile Go programs; nothing is fetched, and what is compiled once serves every script.
		"GOCACHE=" + goCache(), "GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=",
	}
	return testscript.Params{
		RequireUniqueNames: true,
		WorkdirRoot:        s.workRoot,
		Setup:              func(env *testscript.Env) error { return prepare(env, s, shared) },
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "overlay", "vfs":
				return cond == s.driver, nil
			}
			return false, fmt.Errorf("unknown condition")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"intime":  intime,
			"gone":    gone,
			"appears": appears,
			"tells":   tells,
			"same":    same,
			"image":   imageCommand,
			"clean":   clean,
			"cleanly": cleanly,
		},
	}
}

// prepare gives a script a home, a store, and registries of its own, and has them removed when it ends.
func prepare(env *testscript.Env, s suite, shared []string) error {
	home, runtime := filepath.Join(env.WorkDir, "home"), filepath.Join(env.WorkDir, "run")
	store, runroot := filepath.Join(home, ".local/share/containers/storage"), filepath.Join(runtime, "containers")
	env.Vars = append(env.Vars, shared...)
	for _, dir := range []string{home, runtime} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.Chmod(runtime, 0o700); err != nil {
		return err
	}
	if s.root {
		store, runroot = filepath.Join(env.WorkDir, "store"), filepath.Join(env.WorkDir, "runroot")
		conf := fmt.Sprintf("[storage]\ndriver = %q\ngraphroot = %q\nrunroot = %q\n", s.driver, store, runroot)
		if err := os.WriteFile(filepath.Join(home, "storage.conf"), []byte(conf), 0o644); err != nil {
			return err
		}
		env.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(home, "storage.conf"))
	}
	if s.path != "" {
		env.Setenv("PATH", s.path)
	}
	env.Setenv("HOME", home)
	env.Setenv("XDG_RUNTIME_DIR", runtime)
	env.Setenv("STORE", store)
	env.Setenv("RUNROOT", runroot)
	env.Setenv("NAP", nap())

	quiet := registry.Logger(log.New(io.Discard, "", 0))
	open := httptest.NewServer(registry.New(quiet))
	noted := httptest.NewServer(watched(registry.New(quiet), env.WorkDir))
	guarded := httptest.NewServer(authenticated(registry.New(quiet)))
	encrypted := httptest.NewUnstartedServer(registry.New(quiet))
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0) // a refused certificate is what the scripts want to see
	encrypted.StartTLS()
	broken := httptest.NewUnstartedServer(faulty(registry.New(quiet)))
	broken.Config.ErrorLog = log.New(io.Discard, "", 0)
	broken.Start()
	old, err := expired(registry.New(quiet))
	if err != nil {
		return err
	}
	// In authorities/expired and authorities/tls each server's own certificate stands as the authority that is trusted.
	for name, server := range map[string]*httptest.Server{"expired": old, "tls": encrypted} {
		if err := trusted(filepath.Join(env.WorkDir, "authorities", name), server); err != nil {
			return err
		}
	}
	closed, release, err := closedAddress()
	if err != nil {
		return err
	}
	env.Setenv("CLOSED_REGISTRY", closed)
	env.Setenv("REGISTRY", open.Listener.Addr().String())
	env.Setenv("WATCHED_REGISTRY", noted.Listener.Addr().String())
	env.Setenv("AUTH_REGISTRY", guarded.Listener.Addr().String())
	env.Setenv("TLS_REGISTRY", encrypted.Listener.Addr().String())
	env.Setenv("FAULTY_REGISTRY", broken.Listener.Addr().String())
	env.Setenv("EXPIRED_REGISTRY", old.Listener.Addr().String())
	variables := append([]string(nil), env.Vars...)
	env.Defer(func() {
		// Background commands are interrupted only after this, and a server waits for its connections.
		killMarked("WORK=" + env.WorkDir)
		for _, server := range []*httptest.Server{open, noted, guarded, encrypted, broken, old} {
			server.CloseClientConnections()
			server.Close()
		}
		release()
		endPodman(runtime)
		if s.victim == nil {
			removeInside(env.T(), variables, env.WorkDir)
		}
	})
	if s.victim != nil {
		return handOver(env, s.victim)
	}
	return nil
}

// closedAddress returns an address at which nothing listens, nor can until it is released: somebody else would get the port of
// a listener that was closed, the next script's registry perhaps.
func closedAddress() (address string, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	release = func() { _ = unix.Close(fd) }
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		release()
		return "", nil, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		release()
		return "", nil, err
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port), release, nil
}

// naps counts the scripts of this process.
var naps atomic.Int64

// nap returns a number of seconds, more than a day of them, that no other script waits for: processes are known by it.
func nap() string { return fmt.Sprintf("98765.%d%04d", os.Getpid(), naps.Add(1)) }

// removeInside deletes what a script left in its work directory, in the namespace that maps the owners of a store's files.
func removeInside(t testscript.T, variables []string, dir string) {
	entries, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(entries) == 0 {
		return
	}
	// A script may have changed what $HOME or $TMPDIR hold, but not where they are: the files go, those two stay.
	cmd := exec.Command("rlbuild", append([]string{"unshare", "rm", "-rf", "--"}, entries...)...)
	cmd.Env = variables
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Log(fmt.Sprintf("removing the store inside the namespace: %v\n%s", err, output))
		t.FailNow()
	}
}

// authenticated asks for the user name "user" and the password "secret".
func authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "user" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// linkCommands fills dir with links to every command of path but those named.
func linkCommands(dir, path string, without ...string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	skip := map[string]bool{"rlbuild": true, "signal": true}
	for _, name := range without {
		skip[name] = true
	}
	for _, from := range filepath.SplitList(path) {
		entries, err := os.ReadDir(from)
		if err != nil {
			continue // PATH may name folders that aren't there
		}
		for _, entry := range entries {
			if skip[entry.Name()] {
				continue
			}
			skip[entry.Name()] = true // the first in PATH wins
			if err := os.Symlink(filepath.Join(from, entry.Name()), filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func goCache() string {
	if dir := os.Getenv("GOCACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "go-build")
}
