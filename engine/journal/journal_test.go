package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Locks are between processes, so the tests start this program again: as a run that begins a journal, says so, and waits to be
// killed, or as one that claims what dead runs have left and says how many those were.
func TestMain(m *testing.M) {
	switch mode := os.Getenv("JOURNAL_TEST"); mode {
	case "":
		os.Exit(m.Run())
	case "run":
		j, err := Begin(context.Background(), os.Args[1], Header{"/store", "overlay", 3})
		must(err)
		must(j.Note(Container, "c1", "l1"))
		fmt.Println(j.ID())
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		must(j.End())
	case "marked":
		j, err := Begin(context.Background(), os.Args[1], Header{"/store", "overlay", 3})
		must(err)
		must(j.Mark())
		fmt.Println(j.ID())
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	case "claim":
		dead, err := Dead(context.Background(), os.Args[1])
		must(err)
		fmt.Println(len(dead))
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // all are there before the first lets go
		for _, r := range dead {
			must(r.Discard())
		}
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// process is this program, started again.
type process struct {
	*exec.Cmd
	out *bufio.Reader
	in  *os.File
}

func start(t *testing.T, mode, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), "JOURNAL_TEST="+mode)
	cmd.Stderr = os.Stderr
	if mode == "marked" { // in mounts of its own, of which nothing is seen outside
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	r, w, err := os.Pipe()
	check(t, err)
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	r.Close()
	t.Cleanup(func() { w.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &process{cmd, bufio.NewReader(out), w}
}

func (p *process) line(t *testing.T) string {
	t.Helper()
	line, err := p.out.ReadString('\n')
	check(t, err)
	return strings.TrimSpace(line)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyDeadRunsAreClaimed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	alive, killed, ended := start(t, "run", dir), start(t, "run", dir), start(t, "run", dir)
	live, lost := alive.line(t), killed.line(t)
	ended.line(t)
	ended.in.Close()
	check(t, ended.Wait())
	if dead, err := Dead(t.Context(), dir); err != nil || len(dead) != 0 {
		t.Fatalf("with both alive: %v, %v", dead, err)
	}
	check(t, killed.Process.Kill())
	_ = killed.Wait()
	if !Live(dir, live) || Live(dir, lost) || Live(dir, "NOBODYNOBODYNOBODYNOBODY22") {
		t.Errorf("alive: %v, killed: %v", Live(dir, live), Live(dir, lost))
	}
	dead, err := Dead(t.Context(), dir)
	check(t, err)
	if len(dead) != 1 || dead[0].ID != lost || dead[0].Header != (Header{"/store", "overlay", 3}) ||
		!reflect.DeepEqual(dead[0].Entries, []Entry{{Container, []string{"c1", "l1"}}}) {
		t.Fatalf("claimed %+v", dead)
	}
	again, err := Dead(t.Context(), dir)
	check(t, err)
	if len(again) != 0 {
		t.Error("it is claimed twice")
	}
	check(t, dead[0].Discard())
	if names, _ := list(dir); !reflect.DeepEqual(names, []string{live}) {
		t.Errorf("left: %v", names)
	}
}

// What a run has left ends, but not when whoever is about to end it is told to stop.
func TestProcessesEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	left := start(t, "marked", dir)
	r := &Remains{ID: left.line(t)}
	r.path = filepath.Join(dir, r.ID)
	stopped, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	cancel(why)
	if ended, err := r.EndProcesses(stopped, nil); err != why || ended != nil || len(r.survivors(nil)) != 1 {
		t.Errorf("stopped: %v, %v, survivors %v", ended, err, r.survivors(nil))
	}
	want := fmt.Sprintf("%d (journal.test)", left.Process.Pid)
	if ended, err := r.EndProcesses(t.Context(), nil); err != nil || !reflect.DeepEqual(ended, []string{want}) || len(r.survivors(nil)) != 0 {
		t.Errorf("ended %v, %v, want %s; survivors %v", ended, err, want, r.survivors(nil))
	}
}

func TestOneOfManyClaims(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	for range 3 {
		p := start(t, "run", dir)
		p.line(t)
		check(t, p.Process.Kill())
		_ = p.Wait()
	}
	var claimers []*process
	for range 4 {
		claimers = append(claimers, start(t, "claim", dir))
	}
	total := 0
	for _, p := range claimers {
		n := 0
		_, err := fmt.Sscan(p.line(t), &n)
		check(t, err)
		total += n
	}
	if total != 3 {
		t.Errorf("3 dead runs were claimed %d times", total)
	}
	for _, p := range claimers {
		p.in.Close()
		check(t, p.Wait())
	}
	if names, _ := list(dir); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}

// TestNobodySeesALiveJournalUnlocked lets runs begin and end while others look for dead ones.
func TestNobodySeesALiveJournalUnlocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	var beginning sync.WaitGroup
	for range 4 {
		beginning.Go(func() {
			for range 100 {
				j, err := Begin(t.Context(), dir, Header{"/store", "vfs", 1})
				if err != nil {
					t.Error(err)
					return
				}
				if err := j.End(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { beginning.Wait(); close(done) }()
	for {
		dead, err := Dead(t.Context(), dir)
		check(t, err)
		if len(dead) > 0 {
			t.Fatalf("a live run was claimed: %+v", dead[0])
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestWhatIsLeftStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	p := start(t, "run", dir)
	p.line(t)
	check(t, p.Process.Kill())
	_ = p.Wait()
	dead, err := Dead(t.Context(), dir)
	check(t, err)
	left := []Entry{{Temporary, []string{"/a \"name\"\nwith \xff all in it"}}}
	check(t, dead[0].Keep(left))
	dead, err = Dead(t.Context(), dir)
	check(t, err)
	if len(dead) != 1 || !reflect.DeepEqual(dead[0].Entries, left) || dead[0].Driver != "overlay" {
		t.Errorf("kept: %+v", dead)
	}
}

// TestPowerCut reads what such a cut makes of a journal on a disk: a part of it, or nothing.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string][]Entry{
		"": nil, "store \"/s": nil, "container \"c\" \"l\"\n": nil,
		"store \"/s\" \"vfs\" \"1\"\ncontainer \"c\" \"l\"\nlayer \"x\"\ntemporary \"/t": {{Container, []string{"c", "l"}}, {Layer, []string{"x"}}},
		"store \"/s\" \"vfs\" \"1\"\n\x00\x00\x00\x00":                                   {},
		"store \"/s\" \"vfs\" \"1\"\nlayer\nlayer\"x\"\nlayer x\nlayer \"y\" \n":         {{Layer, []string{"y"}}},
	} {
		check(t, os.WriteFile(filepath.Join(dir, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), []byte(text), 0o600))
		dead, err := Dead(t.Context(), dir)
		check(t, err)
		if len(dead) != 1 || fmt.Sprint(dead[0].Entries) != fmt.Sprint(want) {
			t.Errorf("%q: %+v", text, dead)
		}
		check(t, dead[0].Discard())
	}
	check(t, os.WriteFile(filepath.Join(dir, "somebody-else's"), nil, 0o600))
	if dead, err := Dead(t.Context(), dir); len(dead) > 0 || err != nil {
		t.Errorf("no journal: %v, %v", dead, err)
	}
}

func TestUsedByTheLivingOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	j, err := Begin(t.Context(), dir, Header{"/store", "vfs", 1})
	check(t, err)
	check(t, j.Use(Used, "mine"))
	check(t, j.Use(Mounted, "an image"))
	check(t, os.WriteFile(filepath.Join(dir, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), []byte("store \"/s\" \"vfs\" \"1\"\nused \"dead's\"\n"), 0o600))
	dead, err := Dead(t.Context(), dir)
	check(t, err)
	used, err := InUse(dir, Used, map[string]bool{dead[0].ID: true})
	check(t, err)
	if !reflect.DeepEqual(used, map[string]bool{"mine": true}) {
		t.Errorf("in use: %v", used)
	}
	check(t, j.End())
	check(t, j.End())
	if err := j.Note(Container, "c", "l"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestFateOf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	j, err := Begin(t.Context(), dir, Header{"/store", "vfs", 1})
	check(t, err)
	badge, err := j.Badge()
	check(t, err)
	boot, processes, err := here()
	check(t, err)
	other := strings.NewReplacer(boot, "another-boot", "", "")
	expect := func(want Fate, badge, dir, why string) {
		t.Helper()
		if got := FateOf(t.Context(), badge, dir); got != want {
			t.Errorf("got %d, want %d: %s", got, want, why)
		}
	}
	expect(Unknown, badge, dir, "its journal is there")
	expect(Unknown, other.Replace(badge), dir, "its journal is there")
	check(t, os.RemoveAll(dir))
	expect(Alive, badge, dir, "the run root was cleared under it, but it lives")
	expect(Orphaned, other.Replace(badge), dir, "the machine has been started anew since")
	for _, badge := range []string{badge + "2", "", "x y", strings.Replace(badge, j.ID(), "../"+j.ID(), 1)} {
		expect(Unknown, badge, dir, "not a run of this run root")
	}
	check(t, j.End())
	expect(Orphaned, badge, dir, "the run root was cleared, and it has ended since")
	expect(Unknown, strings.Replace(badge, processes, "pid:[1]", 1), dir, "its processes can't be seen from here")
	owners := fmt.Sprintf(" %d ", Owners())
	expect(Unknown, strings.Replace(badge, owners+dir, fmt.Sprintf(" %d ", Owners()+1)+dir, 1), dir, "its owners can't be mapped here")
}

// TestNoProcessInheritsTheLock: a program that outlives the run would keep it alive for the others.
func TestNoProcessInheritsTheLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	j, err := Begin(t.Context(), dir, Header{"/store", "vfs", 1})
	check(t, err)
	flags, err := unix.FcntlInt(j.file.Fd(), unix.F_GETFD, 0)
	check(t, err)
	if flags&syscall.FD_CLOEXEC == 0 {
		t.Error("programs that are started get the journal's descriptor")
	}
	check(t, j.End())
}

func FuzzParse(f *testing.F) {
	f.Add("container \"a\" \"b\"")
	f.Add("temporary \"/a\\nb\"")
	f.Fuzz(func(t *testing.T, text string) {
		e, ok := parse(text)
		if !ok {
			return
		}
		again, ok := parse(strings.TrimSuffix(string(line(e)), "\n"))
		if !ok || !reflect.DeepEqual(again, e) {
			t.Errorf("%q is read as %+v, and that as %+v", text, e, again)
		}
	})
}

func TestSwept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rlbuild")
	one, other := Header{"/store", "vfs", 1}, Header{"/store2", "vfs", 1}
	if Swept(dir, one) || MarkSwept(dir, one) == nil {
		t.Error("the directory isn't there")
	}
	j, err := Begin(t.Context(), dir, one)
	check(t, err)
	defer j.End()
	if Swept(dir, one) {
		t.Error("nobody has looked")
	}
	check(t, MarkSwept(dir, one))
	if !Swept(dir, one) || Swept(dir, other) || Swept(dir, Header{"/store", "overlay", 1}) {
		t.Error("one store is marked, and no other")
	}
	names, err := list(dir)
	check(t, err)
	if !reflect.DeepEqual(names, []string{j.ID()}) {
		t.Errorf("the mark is taken for a journal: %q", names)
	}

	// The machine was started anew.
	check(t, os.WriteFile(filepath.Join(dir, sweptMark(one)), []byte("another-boot\n"), 0o600))
	if Swept(dir, one) {
		t.Error("swept in another boot")
	}
	check(t, MarkSwept(dir, one))
	if !Swept(dir, one) {
		t.Error("marked again")
	}

	// Nobody else can make it, nor have another file written.
	outside := filepath.Join(t.TempDir(), "outside")
	check(t, os.Rename(filepath.Join(dir, sweptMark(one)), outside))
	check(t, os.Symlink(outside, filepath.Join(dir, sweptMark(one))))
	if Swept(dir, one) || MarkSwept(dir, one) == nil {
		t.Error("a link was followed")
	}
	check(t, MarkSwept(dir, other))
	check(t, os.Chmod(dir, 0o777))
	if Swept(dir, other) || MarkSwept(dir, other) == nil {
		t.Error("others can write there")
	}
}
