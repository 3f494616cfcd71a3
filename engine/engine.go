package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	nettypes "go.podman.io/common/libnetwork/types"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/store"
)

// Options say what a run works with. Store, TempDir and Display are required.
type Options struct {
	Store   *store.Store
	Journal *journal.Journal // of what the run owns; nil keeps none
	TempDir string           // a directory of this run's own; the caller removes it after Close
	Display *output.Display  // where steps and their output are shown
	Info    func(string)     // told what was chosen and why, a line at a time; nil drops it
	Note    func(string)     // told what the user should know of, a line at a time; nil drops it

	PointTempDir func(dir string) error // points the libraries at another name of TempDir, by TMPDIR; nil if that can't be

	Dir string   // where relative host paths, names of archives and host commands start
	Env []string // the environment of host commands, NAME=VALUE

	Terminal *Terminal // the user's, for steps that get one; nil if there is none

	Isolation    string // "sandbox", "oci", "rootless", "chroot", or "" for the best that works
	Runtime      string // OCI runtime, a path or a name in PATH; "" tries the known ones
	CommitMethod string // how images are committed: "fast", "library", or "" for the fast way where it can be
	Registries   Registries
	Created      *time.Time // creation time of images and history entries; nil means the time of the commit
	Keep         bool       // keep every working container
	Inspect      bool       // Checkup is all that will be asked for: a signature policy that can't be read is a finding, not a failure
	Logger       *logrus.Logger
}

// Registries say how registries are reached. The zero value is what the user's own files say.
type Registries struct {
	AuthFile        string
	CertDir         string
	TLSVerify       *bool // nil verifies, and allows plain HTTP on the loopback interface
	SignaturePolicy string
	Conf            string // registries.conf
	ConfDir         string // registries.conf.d
	ShortNames      string // the file of the user's short names
}

// Builder is one run: its store, its working containers and the settings they share. It is used by one goroutine at a
// time, Close excepted.
type Builder struct {
	options Options
	system  *types.SystemContext

	network   func() nettypes.ContainerNetwork // opened for the first container
	isolation func() (*Isolation, error)       // chosen when the first step runs
	connect   func() (*heldNetwork, error)     // connects sandboxed steps, once

	ways    map[way]triedWay           // to execute steps; each is tried once
	said    map[string]bool            // what the user was told once
	filters map[string]*sandbox.Filter // of steps, by their profile and capabilities
	resolv  map[string][]byte          // /etc/resolv.conf of sandboxed steps, by what it is made of
	slow    map[notDirect]bool         // why commits were left to the library; each is said once
	cooked  func() error               // gives the user's terminal back its modes; nil if it has them

	unfinished atomic.Bool // some call of the library was left to itself

	passage string // another name of TempDir, for strangers; "" while there is none

	began struct{ root, temp fs.FileInfo } // directories of the run as they were when it began

	mu         sync.Mutex
	netns      *heldNetwork // nil until a sandboxed step wants it
	containers []*Container // in the order they were made
	captures   []*output.Capture
	left       []string // neighbours of places for images that couldn't be removed
}

// New returns a builder for one run. Close it, also when the run failed.
func New(options Options) (*Builder, error) {
	if options.Info == nil {
		options.Info = func(string) {}
	}
	if options.Note == nil {
		options.Note = func(string) {}
	}
	if options.Logger == nil {
		options.Logger = logrus.StandardLogger()
	}
	b := &Builder{
		options: options, filters: map[string]*sandbox.Filter{}, slow: map[notDirect]bool{},
		ways: map[way]triedWay{}, said: map[string]bool{}, resolv: map[string][]byte{},
	}
	lookAgain()
	var err error
	if b.system, err = systemContext(options); err != nil {
		return nil, err
	}
	b.isolation = sync.OnceValues(b.chooseIsolation)
	b.connect = sync.OnceValues(b.holdNetwork)
	b.network = sync.OnceValue(func() nettypes.ContainerNetwork { return containerNetwork(options.Store, options.TempDir) })
	if err := becomeSubreaper(); err != nil {
		return nil, err
	}
	if b.began.root, err = os.Stat(options.Store.Choice.Root); err != nil {
		return nil, err
	}
	if b.began.temp, err = os.Stat(options.TempDir); err != nil {
		return nil, err
	}
	return b, nil
}

// Close ends the run: what its steps left running is killed, mounts are released and working containers deleted, newest
// first, and the kept ones are named. All of it is tried; the errors are joined. It is safe to call twice. With store.ErrMounted
// among the errors something may still be mounted below TempDir: files of the user's, perhaps.
func (b *Builder) Close() error {
	errs := []error{b.restoreTerminal()}
	killSince(nil)
	reap()
	b.mu.Lock()
	containers, captures, netns, left := b.containers, b.captures, b.netns, b.left
	b.containers, b.captures, b.netns, b.left = nil, nil, nil, nil
	b.mu.Unlock()
	if !b.options.Store.Writable() {
		errs = append(errs, errLeft(containers))
		containers = nil
	}
	clearing := b.clearing()
	for _, c := range slices.Backward(containers) {
		switch {
		case c.adopted != nil:
			errs = append(errs, c.giveBack())
		case c.keep:
			errs = append(errs, c.leave())
		default:
			errs = append(errs, clearing.delete(c.name, c.delete))
		}
	}
	for _, c := range captures {
		errs = append(errs, c.Close())
	}
	for _, path := range left {
		errs = append(errs, removeGone(path))
	}
	errs = append(errs, netns.close(), b.closePassage())
	if err := store.UnmountBelow(b.options.TempDir); err != nil {
		errs = append(errs, failure.New("releasing", b.options.TempDir, "%w", err))
	}
	return errors.Join(errs...)
}

// Unfinished tells whether something may still be made after Close, by a call of the library that didn't end when the run was
// interrupted. The journal is to stay then: it names what that may be.
func (b *Builder) Unfinished() bool { return b.unfinished.Load() }

// Abandon is for a run that can't be closed because another process doesn't give back a lock: what its steps left running is
// killed, and the terminal is the user's again. Everything else is left to who finds it next.
func (b *Builder) Abandon() {
	_ = b.restoreTerminal()
	killSince(nil)
}

// errLeft says which working containers stay in a store that can't be written any more.
func errLeft(containers []*Container) error {
	var names []string
	for _, c := range containers {
		if c.adopted == nil && !c.gone {
			names = append(names, c.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("working containers stay in the store: %s", strings.Join(names, ", "))
}

// step shows a step that prints nothing itself.
func (b *Builder) step(title string) { b.options.Display.Step(title).Close() }

// capture returns a new capture that lives as long as the run.
func (b *Builder) capture() *output.Capture {
	c := output.NewCapture(b.options.TempDir)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.captures = append(b.captures, c)
	return c
}
