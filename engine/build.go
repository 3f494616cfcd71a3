package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/imagebuildah"
	"go.podman.io/storage/pkg/stringid"
	"golang.org/x/sync/semaphore"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// BuildOptions say which Containerfiles an image is built of, and how.
type BuildOptions struct {
	Source            BuildSource
	Image             BuildImage
	Cache             BuildCache
	Steps             BuildSteps
	Platforms         []string // "os/arch[/variant]"; none is this machine's
	OS, Arch, Variant string   // instead of Platforms
	// AllPlatforms builds for all that every base image has.
	AllPlatforms bool
	Pull         string // as FromOptions.Pull
	// DecryptionKeys are for base images that are encrypted.
	DecryptionKeys []string
	Access         Access

	Outputs      []BuildOutput // the image's files, written elsewhere
	IIDFile      string        // file for the image's ID, "sha256:…"
	IIDFileRaw   string        // file for the image's ID, the digits alone
	MetadataFile string        // file for a JSON object about the image
	LogFile      string        // file that gets the output instead of the display
	LogSplit     bool          // one file for each platform, LogFile_OS_ARCH
	Quiet        bool
}

// Built is what came of a build: one image, the list that gathers the images of several platforms, or those images.
type Built struct {
	Images []*Image
	Many   bool // several platforms, and no list to gather them
}

// graceOfBuilds is how long an interrupted build has to come to its end while there are processes of it, which clean up
// after a step.
const graceOfBuilds = 5 * time.Second

// Build builds an image with the library's builder of Containerfiles.
func (b *Builder) Build(ctx context.Context, o BuildOptions) (*Built, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := b.tidy(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.options.TempDir, "build-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the build: %w", err)
	}
	build := &build{run: b, options: o, dir: dir, suffix: "build-" + stringid.GenerateRandomID()[:12], subject: o.Source.subject(b.options.Dir)}
	defer build.release()
	if err := build.prepare(ctx); err != nil {
		return nil, err
	}
	defer build.protect.Close()
	return build.do(ctx)
}

// build is one build under way.
type build struct {
	run     *Builder
	options BuildOptions
	dir     string // for its temporary files
	suffix  string // in the names of its working containers
	subject string // how messages name it
	memory  string // a tmpfs with the secrets, "" if there are none

	context        string   // the directory
	containerfiles []string // their paths
	listed         bool     // the images of several platforms are to be gathered in a list of our own
	library        define.BuildOptions
	scan           *scanning  // nil without one
	protect        *protector // nil signs nothing
	place          *placing   // of the image outside the store; nil without a tag
}

// prepare gets the sources and says it all in the library's words.
func (b *build) prepare(ctx context.Context) error {
	if err := b.sources(ctx); err != nil {
		return err
	}
	if err := b.translate(); err != nil {
		return err
	}
	if !b.options.Image.Protection.signs() {
		return nil
	}
	dest, _, err := b.run.destination(b.options.Image.Tags[0], b.options.Access)
	if err == nil {
		b.protect, err = b.run.protector(ctx, b.options.Image.Protection, transportOf(dest))
	}
	return err
}

// do runs the build and cleans up after it.
func (b *build) do(ctx context.Context) (*Built, error) {
	title := "build " + b.subject
	streams, err := b.run.startStreams(title, streamOptions{epilogue: true})
	if err != nil {
		return nil, err
	}
	// One pipe for everything, so that a step's announcement and its output stay in order.
	out := streams.stderr
	if b.options.LogFile != "" {
		log, err := os.OpenFile(b.options.LogFile, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			_, _, _ = streams.finish(title, nil)
			return nil, failure.New("build", b.subject, "logfile: %w", err)
		}
		defer log.Close()
		out = log
	}
	out, said, err := b.place.naming(out)
	if err != nil {
		_, _, _ = streams.finish(title, nil)
		return nil, err
	}
	b.library.Out, b.library.Err, b.library.ReportWriter = out, out, out
	if b.options.Quiet {
		b.library.ReportWriter = nil
	}
	id, err := b.scanned(streams, func() (string, error) { return b.call(ctx) })
	said()
	result, end, _ := streams.finish(title, nil) // nothing was typed to it
	if b.place != nil && ctx.Err() == nil {
		err = b.place.finish(ctx, err)
	}
	if ctx.Err() != nil {
		return nil, interrupted(ctx, title)
	}
	if err != nil {
		return nil, b.explain(err, result, end)
	}
	built, err := b.built(ctx, id)
	if err == nil {
		b.run.settle()
	}
	if err != nil || !b.protect.signs() {
		return built, err
	}
	dest, system, err := b.run.destination(b.options.Image.Tags[0], b.options.Access)
	if err == nil {
		err = b.run.sign(ctx, built.Images[0], dest, system, b.protect)
	}
	if err != nil {
		return nil, explain("build", b.subject, err)
	}
	return built, nil
}

// scanned makes a build that may have its image scanned. The library gives scanners the process's own standard files, and
// what they print is the build's, not the script's.
func (b *build) scanned(streams *streams, call func() (string, error)) (string, error) {
	if b.scan == nil {
		return call()
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", fmt.Errorf("opening the scanner's standard input: %w", err)
	}
	defer null.Close()
	in, out, errs := os.Stdin, os.Stdout, os.Stderr
	os.Stdin, os.Stdout, os.Stderr = null, streams.stderr, streams.stderr
	id, err := call()
	os.Stdin, os.Stdout, os.Stderr = in, out, errs
	if err != nil {
		return "", err
	}
	return id, b.scan.write()
}

// call calls the library, and sees to it that nothing of the build goes on or stays when it returns.
func (b *build) call(ctx context.Context) (id string, err error) {
	jobs := int64(b.options.Steps.Jobs)
	if jobs == 0 {
		jobs = math.MaxInt32 // as many as there are stages
	}
	running := semaphore.NewWeighted(jobs)
	b.library.JobSemaphore = running
	defer b.hush()()
	before := descendants(os.Getpid())
	finished := killWhenCancelled(ctx, before)
	defer finished()
	inside := ctx
	if b.stages() != 1 {
		// The library panics when it is cancelled while one stage waits for another ("released more than held"). Then
		// it ends by the end of its processes.
		inside = context.WithoutCancel(ctx)
	}
	s := b.run.options.Store
	if !b.options.Steps.Remove || !b.options.Steps.ForceRemove { // the latter is about builds that fail
		s = s.ForKeeps()
	}
	if b.options.Cache.Layers {
		s = s.Caching()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		id, _, err = imagebuildah.BuildDockerfiles(inside, s, b.library, b.containerfiles...)
		if err != nil {
			// When one stage fails the library doesn't wait for those that run beside it.
			killSince(before)
			wait, cancel := context.WithTimeout(context.Background(), graceOfBuilds)
			defer cancel()
			if running.Acquire(wait, jobs) == nil {
				running.Release(jobs) // to those that wait for another stage, which see now that it failed
			}
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
		if !endsSoon(done, before) {
			killSince(before)
			b.run.unfinished.Store(true)
			return "", errors.Join(ctx.Err(), b.removeContainers())
		}
	}
	finished()
	killSince(before)
	keep := !b.options.Steps.Remove
	if err != nil {
		keep = !b.options.Steps.ForceRemove && ctx.Err() == nil
	}
	clean := b.removeContainers
	if keep {
		clean = b.leaveContainers
	}
	if left := clean(); left != nil {
		err = errors.Join(err, left) // only then: which instruction failed can't be seen through a join
	}
	return id, err
}

// endsSoon waits for an interrupted build to end, and tells whether it did. The library doesn't look at the context
// everywhere: a download goes on until its server is done. So what has no processes any more isn't waited for long. Looks are
// counted and not time, of which the build gets more where the machine has a lot to do.
func endsSoon(done <-chan struct{}, before []process) bool {
	quiet := 0
	for looks := 0; looks < int(graceOfBuilds/killPause) && quiet < int(stopPatience/killPause); looks++ {
		select {
		case <-done:
			return true
		case <-time.After(killPause):
		}
		if quiet++; len(newSince(before, nil)) > 0 {
			quiet = 0
		}
	}
	return false
}

// release removes the build's temporary files.
func (b *build) release() {
	if b.memory != "" {
		_ = detach(b.memory)
	}
	if b.place != nil {
		b.place.Close()
	}
	_ = rootfs.RemoveAll(b.dir) // a call that is left to itself may mount something there yet; the run's end tries again
}

// hush keeps the library from logging what it does as long as there are secrets: at its debug level it logs the environment
// of RUN, which may have one in it. The returned function ends that.
func (b *build) hush() (restore func()) {
	logger := logrus.StandardLogger()
	level := logger.GetLevel()
	if b.memory == "" || level < logrus.DebugLevel {
		return func() {}
	}
	b.run.options.Info("what the library does is not logged while it builds with secrets")
	logger.SetLevel(logrus.InfoLevel)
	return func() { logger.SetLevel(level) }
}

// removeContainers deletes the working containers that the library left: it doesn't get to all of them when a build ends
// while several stages run.
func (b *build) removeContainers() error {
	clearing := b.run.clearing()
	return b.eachContainer(func(id, name string) error {
		return clearing.delete(name, func() error { return b.run.options.Store.DeleteContainer(id) })
	})
}

// eachContainer does something to the working containers that the library left. All of it is tried.
func (b *build) eachContainer(do func(id, name string) error) error {
	containers, err := b.run.options.Store.Containers()
	if err != nil {
		return fmt.Errorf("looking for the build's containers: %w", err)
	}
	var errs []error
	for _, c := range containers {
		if slices.ContainsFunc(c.Names, func(name string) bool { return strings.Contains(name, b.suffix) }) {
			errs = append(errs, do(c.ID, c.Names[0]))
		}
	}
	return errors.Join(errs...)
}

// inDir returns a path in the build's own temporary directory.
func (b *build) inDir(name string) string { return filepath.Join(b.dir, name) }
