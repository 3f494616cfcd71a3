package engine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/store"
)

// deadRun leaves the journal of a run that nobody holds, with these lines.
func deadRun(t *testing.T, s *store.Store, id string, lines ...string) string {
	t.Helper()
	check(t, os.MkdirAll(s.JournalDir(), 0o700))
	h := s.JournalHeader()
	text := fmt.Sprintf("store %q %q \"%d\"\n%s\n", h.Root, h.Driver, h.Owners, strings.Join(lines, "\n"))
	path := filepath.Join(s.JournalDir(), id)
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const deadID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// TestLayersWithoutImage: those of a killed commit go when they are a day old, and until then the journal names them.
func TestLayersWithoutImage(t *testing.T) {
	dir := place(t)
	s := run(t, dir, "vfs").options.Store
	layer := func(parent string) string {
		made, err := s.CreateLayer("", parent, nil, "", false, nil)
		check(t, err)
		return made.ID
	}
	used := layer("")
	image, err := s.CreateImage("", []string{"localhost/image:1"}, layer(used), "", nil)
	check(t, err)
	lower := layer(image.TopLayer)
	upper := layer(lower)
	other := layer("") // nobody's journal names it
	note := func(id string) string { return fmt.Sprintf("layer %q", id) }
	path := deadRun(t, s, deadID, note(used), note(image.TopLayer), note(lower), note(upper), note("gone"))

	found, err := Reclaim(t.Context(), s, false)
	check(t, err)
	if len(found.Gone) > 0 || len(found.Left) > 0 || len(found.Wait) != 1 || !strings.HasPrefix(found.Wait[0], "2 layers ") {
		t.Errorf("found %+v", found)
	}
	text, err := os.ReadFile(path)
	check(t, err)
	if got := strings.Split(strings.TrimSpace(string(text)), "\n")[1:]; !slices.Equal(got, []string{note(lower), note(upper)}) {
		t.Errorf("the journal names %q", got)
	}

	yesterday(t, filepath.Join(s.Choice.Root, "vfs-layers/layers.json"))
	live, err := journal.Begin(t.Context(), s.JournalDir(), s.JournalHeader())
	check(t, err)
	check(t, live.Use(journal.Used, upper)) // a run that is about to make an image of it
	found, err = Reclaim(t.Context(), s, false)
	check(t, err)
	if len(found.Gone) > 0 || len(found.Wait) != 1 || !strings.HasPrefix(found.Wait[0], "2 layers ") {
		t.Errorf("while a run uses one: %+v", found)
	}
	check(t, live.End())
	found, err = Reclaim(t.Context(), s, false)
	check(t, err)
	if got := found.Summary(); got != "2 layers" || found.Runs != 1 || len(found.Wait)+len(found.Left) > 0 {
		t.Errorf("a day later: %s, %+v", got, found)
	}
	layers, err := s.Layers()
	check(t, err)
	var left []string
	for _, l := range layers {
		left = append(left, l.ID)
	}
	want := []string{used, image.TopLayer, other}
	slices.Sort(left)
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("layers %v are left, want %v", left, want)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the journal is still there: %v", err)
	}
}

// yesterday makes all layers of a store two days old.
func yesterday(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	day := func(ago time.Duration) string { return time.Now().Add(-ago).UTC().Format("2006-01-02") }
	old := strings.ReplaceAll(string(text), `"created":"`+day(0), `"created":"`+day(48*time.Hour))
	old = strings.ReplaceAll(old, `"created":"`+day(24*time.Hour), `"created":"`+day(72*time.Hour)) // at midnight
	check(t, os.WriteFile(path, []byte(old), 0o600))
}

// TestOnlyOwnNamesAreDeleted: a journal can't make a run delete what isn't a run's.
func TestOnlyOwnNamesAreDeleted(t *testing.T) {
	dir := place(t)
	s := run(t, dir, "vfs").options.Store
	precious := filepath.Join(dir, "precious")
	check(t, os.Mkdir(precious, 0o700))
	mine := filepath.Join(dir, "rlbuild-"+deadID)
	check(t, os.MkdirAll(filepath.Join(mine, "below"), 0o700))
	t.Chdir(dir)
	check(t, os.Mkdir("rlbuild-x"+deadID, 0o700))
	path := deadRun(t, s, deadID, fmt.Sprintf("temporary %q", precious), fmt.Sprintf("temporary %q", mine),
		fmt.Sprintf("temporary %q", "rlbuild-x"+deadID), `temporary "/"`, `unknown "x"`, `container "one word"`)
	found, err := Reclaim(t.Context(), s, true)
	check(t, err)
	if got := found.Summary(); got != "1 temporary directory" || len(found.Left) > 0 {
		t.Errorf("gone: %s; left: %v", got, found.Left)
	}
	for name, there := range map[string]bool{precious: true, "rlbuild-x" + deadID: true, mine: false, path: false} {
		if _, err := os.Stat(name); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOnlyOwnRuntimesAreRun: nor can it make a run start a program, or look for processes of what isn't a layer.
func TestOnlyOwnRuntimesAreRun(t *testing.T) {
	dir := place(t)
	s := run(t, dir, "vfs").options.Store
	ran := filepath.Join(dir, "ran")
	program := filepath.Join(dir, "program")
	check(t, os.WriteFile(program, []byte("#!/bin/sh\necho $2 >>"+ran+"\n"), 0o700))
	own := filepath.Join(dir, "rlbuild-"+deadID)
	for _, state := range []string{filepath.Join(own, "runtime/c1"), filepath.Join(dir, "other/c2")} {
		check(t, os.MkdirAll(state, 0o700))
	}
	layer := strings.Repeat("1", 64)
	deadRun(t, s, deadID, fmt.Sprintf("temporary %q", own), fmt.Sprintf("runtime %q %q", program, own+"/runtime"),
		fmt.Sprintf("runtime %q %q", program, dir+"/other"), fmt.Sprintf("runtime %q %q", program, own+"/../other"),
		`container "" ""`, `container "x" "y"`, fmt.Sprintf("container %q \"\"", layer), `layer "../x"`, `image ""`)
	found, err := Reclaim(t.Context(), s, false)
	check(t, err)
	if got := found.Summary(); got != "1 runtime container, 1 temporary directory" || len(found.Left)+len(found.Wait) > 0 {
		t.Errorf("%s, %+v", got, found)
	}
	text, err := os.ReadFile(ran)
	check(t, err)
	if got := strings.TrimSpace(string(text)); got != own+"/runtime" {
		t.Errorf("the program was run for %q", got)
	}
}

// TestContainersOfTheLiving: a live run works with a dead one's container, so what runs in it isn't killed, and it stays.
func TestContainersOfTheLiving(t *testing.T) {
	s := run(t, place(t), "vfs").options.Store
	live, err := journal.Begin(t.Context(), s.JournalDir(), s.JournalHeader())
	check(t, err)
	container, err := s.CreateContainer("", nil, "", "", "", nil)
	check(t, err)
	check(t, live.Use(journal.Used, container.ID))
	root, err := s.Mount(container.ID, "")
	check(t, err)
	path := deadRun(t, s, deadID, fmt.Sprintf("container %q %q", container.ID, container.LayerID))
	step := inRoot(t, root)
	reclaimed := func() string {
		found, err := Reclaim(t.Context(), s, false)
		check(t, err)
		return found.Summary()
	}
	if got := reclaimed(); got != "" || !s.Exists(container.ID) {
		t.Errorf("gone: %s", got)
	}
	if err := step.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the step: %v", err)
	}
	check(t, live.End())
	if got := reclaimed(); got != "1 process, 1 container" {
		t.Errorf("gone when the other has ended: %s", got)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the journal is still there: %v", err)
	}
}

// inRoot starts a process whose root directory is root, as a mount of its own.
func inRoot(t *testing.T, root string) *os.Process {
	t.Helper()
	script := `mount --rbind "$1" "$1" && cd "$1" && mkdir -p old proc bin usr lib lib64 && for d in bin usr lib lib64; do
		test ! -e /$d || mount --rbind /$d $d || exit; done; mount --rbind /proc proc && pivot_root . old && umount -l /old && echo up && exec sleep 60`
	return started(t, exec.Command("unshare", "--mount", "sh", "-c", script, "sh", root))
}

// started starts a process that says "up", and ends it with the test.
func started(t *testing.T, cmd *exec.Cmd) *os.Process {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	ended := make(chan error, 1)
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	line := make([]byte, 3)
	_, err = out.Read(line)
	go func() { ended <- cmd.Wait() }() // or it would stay as a zombie
	if err != nil || string(line) != "up\n" {
		t.Fatalf("starting %q: %q, %v", cmd.Args, line, err)
	}
	return cmd.Process
}

// TestMountsThatOthersSaw: what one dead run has mounted is released also when processes of another dead run see it.
func TestMountsThatOthersSaw(t *testing.T) {
	dir := place(t)
	s := run(t, dir, "vfs").options.Store
	container, err := s.CreateContainer("", nil, "", "", "", nil)
	check(t, err)
	root, err := s.Mount(container.ID, "")
	check(t, err)
	noted := fmt.Sprintf("mounted %q", container.ID)
	others := []string{strings.Repeat("A", 26), strings.Repeat("Z", 26)} // looked at before and after it
	deadRun(t, s, deadID, noted)
	for _, id := range others {
		path := deadRun(t, s, id, noted)
		started(t, exec.Command("unshare", "--mount", "sh", "-c",
			`mount --bind "$1" "$1" && mount --bind "$2" "$2" && echo up && exec sleep 60`, "sh", path, root))
	}
	found, err := Reclaim(t.Context(), s, false)
	check(t, err)
	if got := found.Summary(); got != "2 processes, 1 mount" || len(found.Left)+len(found.Wait) > 0 {
		t.Errorf("gone: %s, %+v", got, found)
	}
	if counted, err := s.Mounted(container.LayerID); err != nil || counted != 0 {
		t.Errorf("it is counted %d times, %v", counted, err)
	}
	for _, id := range append(others, deadID) {
		if _, err := os.Stat(filepath.Join(s.JournalDir(), id)); !os.IsNotExist(err) {
			t.Errorf("the journal %s is still there: %v", id, err)
		}
	}
}

// TestImagesWithoutName: one that a killed commit entered goes, also under the name that the library gives it for a moment; one that
// was there before, is whole, or has got a name stays, and one that somebody else is giving such a name.
func TestImagesWithoutName(t *testing.T) {
	s := run(t, place(t), "vfs").options.Store
	ids := map[string]string{}
	temporary := "docker.io/library/" + strings.Repeat("0a", 32) + "-tmp:latest"
	others, shared := strings.ReplaceAll(temporary, "0a", "0c"), strings.ReplaceAll(temporary, "0a", "0d")
	for _, name := range []string{"unfinished", "whole", "named", "other", "temporary", "both", "others", "shared"} {
		names := map[string][]string{
			"named": {"localhost/named:1"}, "temporary": {temporary}, "both": {strings.ReplaceAll(temporary, "0a", "0b"), "localhost/both:1"},
			"others": {others}, "shared": {shared, strings.ReplaceAll(temporary, "0a", "0e")},
		}[name]
		image, err := s.CreateImage("", names, "", "", nil)
		check(t, err)
		ids[name] = image.ID
	}
	deadRun(t, s, deadID, fmt.Sprintf("image %q", ids["unfinished"]), fmt.Sprintf("image %q", ids["whole"]), fmt.Sprintf("whole %q", ids["whole"]),
		fmt.Sprintf("image %q", ids["named"]), fmt.Sprintf("image %q", ids["temporary"]),
		fmt.Sprintf("image %q %q", ids["temporary"], temporary), fmt.Sprintf("image %q", ids["both"]),
		fmt.Sprintf("image %q", ids["others"]), fmt.Sprintf("image %q %q", ids["shared"], shared))
	found, err := Reclaim(t.Context(), s, false)
	check(t, err)
	if got := found.Summary(); got != "2 images" {
		t.Errorf("gone: %s", got)
	}
	for name, id := range ids {
		if there := s.Exists(id); there != (name != "unfinished" && name != "temporary") {
			t.Errorf("%s: %v", name, there)
		}
	}
	if image, err := s.Image(ids["shared"]); err != nil || slices.Contains(image.Names, shared) || len(image.Names) != 1 {
		t.Errorf("shared is called %q: %v", image.Names, err)
	}
}

// TestLostElsewhere: nobody can tell from here whether the run lives that made a container in another namespace of processes, now
// or later, so the store isn't searched again for its sake.
func TestLostElsewhere(t *testing.T) {
	s := run(t, place(t), "vfs").options.Store
	check(t, os.MkdirAll(s.JournalDir(), 0o700))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	check(t, err)
	badge := fmt.Sprintf("%s %s pid:[1] 1 1 %s", deadID, strings.TrimSpace(string(boot)), s.JournalDir())
	options := storage.ContainerOptions{Flags: map[string]any{store.RunFlag: badge}}
	container, err := s.CreateContainer("", nil, "", "", "", &options)
	check(t, err)
	found, err := Reclaim(t.Context(), s, true)
	check(t, err)
	if len(found.Gone) > 0 || !s.Exists(container.ID) {
		t.Errorf("found %+v", found)
	}
	if !journal.Swept(s.JournalDir(), s.JournalHeader()) {
		t.Error("the store will be searched again")
	}
}
