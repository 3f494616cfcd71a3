package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestParity does the same job twice, on stores of their own: a shell script with the buildah of the same version, inside
// `buildah unshare`, and a script of rlbuild. Exit status, images (configuration, manifest, root file system) and the
// folder out/ must be the same. The jobs are the files of testdata/parity: a comment, directives, then the sections
// buildah.sh and rlbuild.star and the files that both start with. The directives:
//
//	fails                       both sides must fail; without it, both must succeed
//	stdout                      standard output must be the same
//	times                       modification times in the root file systems count
//	driver NAME                 only with this storage driver
//	differs REGEXP: REASON      a difference that matches is known; the README has the reason
//
// Both stores hold localhost/base; $REGISTRY is an empty registry, $AUTH_REGISTRY one that wants user:secret, $BASE the
// base image as an OCI archive.
func TestParity(t *testing.T) { runParity(t, "parity") }

// TestParityNotices has what differs noticed: its job is done differently on purpose.
func TestParityNotices(t *testing.T) { runParity(t, "parity-check") }

func runParity(t *testing.T, dir string) {
	needUser(t)
	cases := parityCases(t, dir)
	base := filepath.Join(t.TempDir(), "base.tar")
	if err := writeBase(base); err != nil {
		t.Fatal(err)
	}
	peer := os.Getenv("RLBUILD_PEER")
	if peer == "" {
		t.Fatal("RLBUILD_PEER must name the buildah to compare with; `make parity` builds it and sets this")
	}
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					if c.driver != "" && c.driver != driver {
						t.Skip("the case is about " + c.driver)
					}
					t.Parallel()
					c.run(t, driver, base, peer)
				})
			}
		})
	}
}

// parityCase is one job.
type parityCase struct {
	name    string
	fails   bool
	stdout  bool
	times   bool
	driver  string
	differs []difference
	files   []txtar.File
}

// difference is one that is known.
type difference struct {
	pattern *regexp.Regexp
	reason  string
}

// The sections that the two sides run.
const (
	peerScript = "buildah.sh"
	ourScript  = "rlbuild.star"
)

// parityCases reads the cases in a folder of testdata.
func parityCases(t *testing.T, dir string) []parityCase {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../../testdata", dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var cases []parityCase
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := parityCase{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), files: archive.Files}
		if err := c.direct(string(archive.Comment)); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, name := range []string{peerScript, ourScript} {
			if !slices.ContainsFunc(c.files, func(f txtar.File) bool { return f.Name == name }) {
				t.Fatalf("%s: no section %s", file, name)
			}
		}
		cases = append(cases, c)
	}
	return cases
}

// direct takes the directives out of a comment.
func (c *parityCase) direct(comment string) error {
	for line := range strings.Lines(comment) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "fails" && rest == "":
			c.fails = true
		case word == "stdout" && rest == "":
			c.stdout = true
		case word == "times" && rest == "":
			c.times = true
		case word == "driver":
			c.driver = rest
		case word == "differs":
			pattern, reason, found := strings.Cut(rest, ": ")
			expression, err := regexp.Compile(pattern)
			if err != nil || !found {
				return fmt.Errorf("%q is not differs REGEXP: REASON (%v)", line, err)
			}
			c.differs = append(c.differs, difference{expression, reason})
		case word != "" && !strings.HasPrefix(word, "#"):
			return fmt.Errorf("there is no directive %q", word)
		}
	}
	return nil
}

func (c *parityCase) run(t *testing.T, driver, base, peer string) {
	commands := t.TempDir()
	if err := os.Symlink(peer, filepath.Join(commands, "buildah")); err != nil {
		t.Fatal(err)
	}
	sides := [2]*paritySide{}
	for i, name := range []string{"buildah", "rlbuild"} {
		sides[i] = newParitySide(t, c, name, driver, base, commands)
	}
	sides[0].do(peer, "unshare", "sh", "-eu", peerScript)
	sides[1].do("rlbuild", ourScript)
	for _, s := range sides {
		if (s.status != 0) != c.fails {
			t.Errorf("%s exited with status %d\n%s%s", s.name, s.status, s.stdout.String(), s.stderr.String())
		}
	}
	if t.Failed() {
		return
	}
	differences := compare(sides[0].outcome(c), sides[1].outcome(c))
	if c.stdout && sides[0].stdout.String() != sides[1].stdout.String() {
		differences = append(differences, fmt.Sprintf("stdout: %q, rlbuild has %q", sides[0].stdout.String(), sides[1].stdout.String()))
	}
	used := map[int]bool{}
	for _, line := range differences {
		known := slices.IndexFunc(c.differs, func(d difference) bool { return d.pattern.MatchString(line) })
		if known < 0 {
			t.Error(line)
		}
		used[known] = true
	}
	for i, d := range c.differs {
		if !used[i] {
			t.Errorf("no difference matches %q any more: take the directive out", d.pattern)
		}
	}
}

// compare returns a line for each thing that isn't the same on both sides.
func compare(peer, ours map[string]description) []string {
	var lines []string
	for _, name := range union(peer, ours) {
		theirs, there := peer[name]
		mine, here := ours[name]
		if !there || !here {
			lines = append(lines, fmt.Sprintf("%s: buildah has it: %v, rlbuild has it: %v", name, there, here))
			continue
		}
		for _, key := range union(theirs, mine) {
			value, there := theirs[key]
			own, here := mine[key]
			if !there {
				value = "nothing"
			}
			if !here {
				own = "nothing"
			}
			if value != own {
				lines = append(lines, fmt.Sprintf("%s %s: %s, rlbuild has %s", name, key, value, own))
			}
		}
	}
	return lines
}

func union[V any](a, b map[string]V) []string {
	var keys []string
	for _, m := range []map[string]V{a, b} {
		for key := range m {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// paritySide is one of the two, with a home, a store and registries of its own.
type paritySide struct {
	t      *testing.T
	name   string
	work   string // where the script and its files are
	env    []string
	status int
	stdout bytes.Buffer
	stderr bytes.Buffer
}

func newParitySide(t *testing.T, c *parityCase, name, driver, base, commands string) *paritySide {
	dir := filepath.Join(t.TempDir(), name)
	home, runtime, temporary := filepath.Join(dir, "home"), filepath.Join(dir, "run"), filepath.Join(dir, "tmp")
	s := &paritySide{t: t, name: name, work: filepath.Join(dir, "work")}
	for _, folder := range []string{s.work, home, runtime, temporary} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range c.files {
		file := filepath.Join(s.work, f.Name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		// One time for both sides, for what keeps it.
		if err := os.Chtimes(file, time.Time{}, time.Unix(1_500_000_000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	serve := func(wrap func(http.Handler) http.Handler) string {
		server := httptest.NewServer(wrap(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	s.env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+runtime, "TMPDIR="+temporary,
		"PATH="+commands+":"+os.Getenv("PATH"), "STORAGE_DRIVER="+driver, "BUILDAH_ISOLATION=", "LANG=C.UTF-8",
		"BASE="+base, "REGISTRY="+serve(func(h http.Handler) http.Handler { return h }), "AUTH_REGISTRY="+serve(authenticated))
	t.Cleanup(func() {
		if output, err := s.command("rlbuild", "unshare", "rm", "-rf", home, runtime, temporary, s.work).CombinedOutput(); err != nil {
			t.Errorf("removing the store: %v\n%s", err, output)
		}
	})
	s.do("rlbuild", "-c", `tag(pull("oci-archive:" + env("BASE")), "localhost/base")`)
	if s.status != 0 {
		t.Fatalf("loading the base image: %s", s.stderr.String())
	}
	if name == "buildah" {
		s.env = append(s.env, "BUILDAH_ISOLATION=chroot")
	}
	return s
}

func (s *paritySide) command(argv ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = s.work, s.env
	return cmd
}

func (s *paritySide) do(argv ...string) {
	s.stdout.Reset()
	s.stderr.Reset()
	cmd := s.command(argv...)
	cmd.Stdout, cmd.Stderr = &s.stdout, &s.stderr
	err := cmd.Run()
	s.status = cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s: %v", argv[0], err)
	}
}

// outcome returns what the side made: its images by name, and the folder out.
func (s *paritySide) outcome(c *parityCase) map[string]description {
	cmd := s.command("describe")
	if c.times {
		cmd.Env = append(cmd.Env, "RLBUILD_DESCRIBE_TIMES=1")
	}
	cmd.Stderr = &s.stderr
	output, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("describing the store of %s: %v\n%s", s.name, err, s.stderr.String())
	}
	var images map[string]description
	if err := json.Unmarshal(output, &images); err != nil {
		s.t.Fatal(err)
	}
	if out := filepath.Join(s.work, "out"); exists(out) {
		files := description{}
		if err := files.addTree("file", out, false); err != nil {
			s.t.Fatal(err)
		}
		images["out"] = files
	}
	return images
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
