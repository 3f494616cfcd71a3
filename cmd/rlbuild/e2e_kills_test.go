package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// killScript does a bit of everything; each of its runs makes other files, and so other layers and images. It leaves processes
// behind in every way that host and run have. An image that loses its name to another run's has one more.
const killScript = `
n = arg("n")
ctr = from_("localhost/base")
root = mount(ctr)
run(ctr, "echo %s > /made; (sleep 271 &); sleep 0.01" % n)
host(["sh", "-c", "setsid sleep 271 & sleep 271 & echo \"$1\" > \"$2/etc/n\"; sleep 0.01", "sh", n, root])
copy(ctr, "files", "/files")
run(ctr, "cat /m/etc/passwd > /seen", mount = [bind("/", "/m", from_ = "localhost/base"), tmpfs("/t")])
image = commit(ctr, "localhost/killed:" + n)
push(image, "docker://%s/killed:%s" % (env("REGISTRY"), n))
other = from_(image)
run(other, "echo more > /more")
commit(other, "localhost/other:" + n, rm = True)
commit(ctr, "oci-archive:" + str(path("out/archive.tar")))
commit(ctr, "dir:out/folder")
push(image, "oci:out/layout:app")
commit(ctr, "localhost/same:" + n, timestamp = 1)
commit(ctr, "localhost/moving", timestamp = 1)
commit(ctr, "localhost/squashed:" + n, squash = True)
kept = from_("scratch")
`

// buildScript has the library's builder do that.
const buildScript = `
n = arg("n")
build("files", contents = """
FROM localhost/base
RUN echo %s > /made; (sleep 271 &) ; sleep 0.05
FROM localhost/base
COPY --from=0 /made /made
COPY one /one
RUN sleep 0.05
""" % n, tag = "built:" + n)
`

// TestKills kills runs at random moments of all that they do, and looks for what is left when another run has been. The seed
// of what is random is logged, and RLBUILD_KILL_SEED sets it; RLBUILD_KILLS says how many kills of each kind there are, in
// percent of the usual number.
func TestKills(t *testing.T) {
	needUser(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("RLBUILD_KILL_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	percent := 100
	if text := os.Getenv("RLBUILD_KILLS"); text != "" {
		var err error
		if percent, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	base := filepath.Join(t.TempDir(), "base.tar")
	if err := writeBase(base); err != nil {
		t.Fatal(err)
	}
	t.Parallel() // only now: what takes longest is to begin before all the scripts
	t.Logf("RLBUILD_KILL_SEED=%d", seed)
	var mu sync.Mutex
	total := 0
	t.Run("drivers", func(t *testing.T) {
		for i, driver := range []string{"overlay", "vfs"} {
			t.Run(driver, func(t *testing.T) {
				t.Parallel()
				k := newKiller(t, base, driver, rand.New(rand.NewPCG(seed, uint64(i))))
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					total += k.kills
				}()
				few := []int{130, 30}[i] * percent / 100 // vfs copies whole trees, and gets less far in the same time
				k.rounds(few, killScript)
				k.rounds(few/10, buildScript, "--isolation", "chroot")
				k.rounds(few/10, killScript, "--isolation", "chroot")
				if _, err := exec.LookPath("runc"); err == nil {
					k.rounds(few/10, killScript, "--isolation", "oci", "--runtime", "runc")
				}
				k.check()
			})
		}
	})
	t.Logf("%d kills", total)
	if percent >= 100 && total < 200 {
		t.Errorf("%d kills are too few to say anything", total)
	}
}

// killer kills runs on one store.
type killer struct {
	*testing.T
	random  *rand.Rand
	dir     string
	env     []string
	earlier string // what was in the store before
	runs    int    // that were started
	kills   int
	early   int // kills that came after the end
}

func newKiller(t *testing.T, base, driver string, random *rand.Rand) *killer {
	k := &killer{T: t, random: random}
	var err error
	// Not t.TempDir: what is in it belongs to sub-IDs.
	if k.dir, err = os.MkdirTemp("", "kills-"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	k.env = append(os.Environ(), "STORAGE_DRIVER="+driver, "HOME="+k.in("home"), "XDG_RUNTIME_DIR="+k.in("run"), "TMPDIR="+k.in("tmp"),
		"STORE="+k.store(), "RUNROOT="+k.runRoot(), "REGISTRY="+server.Listener.Addr().String())
	t.Cleanup(func() {
		server.Close()
		if output, err := k.command("rlbuild", "unshare", "rm", "-rf", k.dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, output)
		}
	})
	for _, dir := range []string{"home", "run", "tmp", "work/files", "work/out"} {
		if err := os.MkdirAll(k.in(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"one": "1", "two": strings.Repeat("2", 300000)} {
		if err := os.WriteFile(k.in("work/files/"+name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	k.must("rlbuild", "-c", `p = pull("oci-archive:`+base+`"); tag(p, "localhost/pulled"); commit(from_(p), "localhost/base")`)
	k.must("rlbuild", "-c", `tag(commit(from_("localhost/base"), "localhost/moving"), "localhost/moved")`)
	k.must("rlbuild", "-c", `c = from_("localhost/base"); run(c, "echo precious > /precious"); commit(c, "localhost/earlier")`)
	k.earlier = k.precious()
	return k
}

func (k *killer) in(name string) string { return filepath.Join(k.dir, name) }
func (k *killer) store() string         { return k.in("home/.local/share/containers/storage") }
func (k *killer) runRoot() string       { return k.in("run/containers") }

func (k *killer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = k.env, k.in("work")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// must runs a command that has to succeed and returns its output.
func (k *killer) must(name string, args ...string) string {
	k.Helper()
	var stdout, stderr bytes.Buffer
	cmd := k.command(name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		k.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// precious describes the image that was there before, with all of its files. (The root directory itself is the container's.)
func (k *killer) precious() string {
	k.Helper()
	return k.must("rlbuild", "-q", "-c", `i = images("localhost/earlier")[0]; print(i.id, i.digest, i.names, `+
		`host(["sh", "-c", "cd $1 && tar c --sort=name * | sha256sum", "sh", mount(from_(i))]).stdout)`)
}

// rounds kills runs of a script until that many kills have hit.
func (k *killer) rounds(kills int, script string, flags ...string) {
	k.Helper()
	name := k.in(fmt.Sprintf("work/script%d.star", k.runs))
	if err := os.WriteFile(name, []byte(script), 0o644); err != nil {
		k.Fatal(err)
	}
	// The second time, when all is in caches, as it will be for the others.
	var length time.Duration
	for range 2 {
		start := time.Now()
		k.must("rlbuild", append(flags, name, "n="+k.next())...)
		length = time.Since(start)
	}
	for done := 0; done < kills; {
		at := 1
		if k.random.IntN(8) == 0 {
			at = 2 + k.random.IntN(2) // several at once, on the one store
		}
		var all sync.WaitGroup
		hits := make([]bool, at)
		for i := range at {
			r := k.victim(name, flags, time.Duration(k.random.Int64N(int64(length)*int64(at))))
			all.Go(func() { hits[i] = r() })
		}
		all.Wait()
		for _, hit := range hits {
			if hit {
				done++
			} else {
				k.early++
			}
		}
	}
	k.kills += kills
	k.Logf("%d kills of runs that take %v", kills, length)
}

func (k *killer) next() string {
	k.runs++
	return strconv.Itoa(k.runs)
}

// victim returns what starts a run, kills it after a while, and tells whether it was still running then.
func (k *killer) victim(script string, flags []string, after time.Duration) func() bool {
	cmd := k.command("rlbuild", append(flags, script, "n="+k.next())...)
	how, which := k.random.IntN(10), k.random.Int()
	return func() bool {
		if err := cmd.Start(); err != nil {
			k.Error(err)
			return false
		}
		time.Sleep(after)
		pid := cmd.Process.Pid
		var err error
		switch {
		case how < 6:
			err = syscall.Kill(pid, syscall.SIGKILL)
		case how < 8:
			err = syscall.Kill(-pid, syscall.SIGKILL)
		default: // what it has started, and then itself
			if children := below(pid); len(children) > 0 {
				_ = syscall.Kill(children[which%len(children)], syscall.SIGKILL) // it may have ended
				time.Sleep(time.Duration(which%20) * time.Millisecond)
			}
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			k.Error(err)
		}
		err = cmd.Wait()
		return err != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	}
}

// below returns the processes that a process has started, and those that these have.
func below(pid int) (found []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is a good one
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // gone is as good as none
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				found = append(append(found, child), below(child)...)
			}
		}
	}
	return found
}

// check looks for what is left when a run that nobody kills has been.
func (k *killer) check() {
	k.Helper()
	k.must("rlbuild", "-c", `run(from_("localhost/base"), "true")`)
	for _, pattern := range []string{
		k.in("tmp/*"), k.in("work/out/.*"), k.in("work/out/*/.*"), k.store() + "/*-containers/*/", k.store() + "/overlay/staging/*", k.store() + "/rlbuild-*",
		k.store() + "/*/tempdirs/*", k.runRoot() + "/.rlbuild*",
	} {
		left, err := filepath.Glob(pattern)
		if err != nil {
			k.Fatal(err)
		}
		left = slices.DeleteFunc(left, func(name string) bool { // caches, and what a store keeps
			return strings.HasPrefix(filepath.Base(name), "buildah-cache-") || filepath.Base(name) == "rlbuild-id-maps"
		})
		if len(left) > 0 {
			k.Errorf("left: %s", left)
		}
	}
	for _, pattern := range []string{"*-containers/*containers.json", "*-layers/mountpoints.json"} {
		for _, dir := range []string{k.store(), k.runRoot()} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				k.Fatal(err)
			}
			for _, file := range files {
				var records []any
				text, err := os.ReadFile(file)
				if err != nil {
					k.Error(err)
				}
				if len(text) > 0 && (json.Unmarshal(text, &records) != nil || len(records) > 0) {
					k.Errorf("%s: %s", file, text)
				}
			}
		}
	}
	k.processes()
	waiting := k.journals()
	k.Log("checking")
	if found, err := k.command("checkstore").CombinedOutput(); err != nil || len(found) > 0 {
		k.Errorf("the library's check: %v\n%s", err, found)
	}
	if now := k.precious(); now != k.earlier {
		k.Errorf("the earlier image is\n%swas\n%s", now, k.earlier)
	}
	k.images()
	k.Logf("%d kills of %d runs (%d came too late); layers that wait for the next day: %d", k.kills, k.runs, k.early, waiting)
}

// images looks for images that have no name, where all were to get one, and for places and names that have no whole image.
func (k *killer) images() {
	k.Helper()
	if nameless := k.must("rlbuild", "-c", `for i in images(all = True):
    if not [n for n in i.names if not n.endswith("-tmp:latest")]:
        print(i.id, i.names)
`); nameless != "" {
		k.Errorf("images without a name: %s", nameless)
	}
	for _, name := range []string{"oci-archive:out/archive.tar", "dir:out/folder", "oci:out/layout:app", "localhost/moving"} {
		if found := k.must("rlbuild", "-q", "-c", `print(run(from_("`+name+`"), "cat /made").stdout.strip())`); found == "\n" {
			k.Errorf("the image at %s has nothing in it", name)
		}
	}
}

// processes looks for processes that see anything of the killer's directory mounted: all that a run starts do, its journal at
// least.
func (k *killer) processes() {
	k.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/mountinfo") // the pattern is a good one
	for _, file := range files {
		mounts, err := os.ReadFile(file)
		if err == nil && bytes.Contains(mounts, []byte(k.dir)) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline")) // it is only for the message
			k.Errorf("left running: %s %q", filepath.Dir(file), command)
		}
	}
}

// journals looks for journals that name more than layers, which have to wait, and returns how many of those they name.
func (k *killer) journals() (waiting int) {
	k.Helper()
	files, err := filepath.Glob(filepath.Join(k.runRoot(), "rlbuild", "[^.]*")) // not the marks of searched stores
	if err != nil {
		k.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			k.Error(err)
		}
		for line := range strings.Lines(string(text)) {
			switch kind, _, _ := strings.Cut(line, " "); kind {
			case "store":
			case "layer":
				waiting++
			default:
				k.Errorf("a journal is left: %s", text)
			}
		}
	}
	return waiting
}
