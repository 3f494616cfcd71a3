package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rlbuild/rlbuild/engine/journal"
)

// leak matches what must never reach a user: a log line of the libraries, a Go stack.
var leak = regexp.MustCompile(`(?m)^time=".*" level=|level=(warning|error|fatal) msg=|^goroutine \d+ \[|^panic: |\.go:\d+ \+0x`)

// exits is the script command `exits STATUS COMMAND...`: the command must end with that very status, and what it printed
// must hold no Go stack and no library's log line.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
		if end := exit.Sys().(syscall.WaitStatus); end.Signaled() {
			got = 128 + int(end.Signal()) // as a shell has it
		}
	}
	if got != want {
		ts.Fatalf("%s exited with status %d, want %d", args[1], got, want)
	}
	if line := leak.FindString(ts.ReadFile("stderr")); line != "" {
		ts.Fatalf("a library's log or a Go stack reached the user: %q", line)
	}
}

// tells is the script command `tells PATTERN COMMAND...`: the command fails with status 1, and a line of its standard error
// matches. It has four tries: the library's helper for chroots may end before it has passed on all that a step prints, so that
// on a busy machine there is nothing to explain now and then.
func tells(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: tells PATTERN COMMAND...")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for range 4 {
		exits(ts, false, append([]string{"1"}, args[1:]...))
		if pattern.MatchString(ts.ReadFile("stderr")) {
			return
		}
	}
	ts.Fatalf("no match for %q in standard error", args[0])
}

// same is the script command `same FILE COMMAND...`: the command succeeds, and its standard output is what the file holds. It has
// some tries, for the reason that tells has.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: same FILE COMMAND...")
	}
	want := ts.ReadFile(args[0])
	for range 6 {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if ts.ReadFile("stdout") == want {
			return
		}
	}
	ts.Fatalf("standard output isn't what %s holds:\n%s", args[0], want)
}

// intime is the script command `intime STATUS PATTERN COMMAND...`: as exits, of a command that is given a time, which stands where
// the words say TIME, and in $TIME afterwards, and that ends within 30 seconds of it: whoever waits for a minute on the way to its
// end fails. On a busy machine it may not have come in it to where it is to be when the time is over, which a line of its standard
// error tells that matches: then it gets another try, and more time.
func intime(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: intime STATUS PATTERN COMMAND...")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for _, limit := range []string{"700ms", "3s", "10s", "30s"} {
		ts.Setenv("TIME", limit)
		words := []string{args[0]}
		for _, word := range args[2:] {
			words = append(words, strings.ReplaceAll(word, "TIME", limit))
		}
		most, err := time.ParseDuration(limit)
		ts.Check(err)
		start := time.Now()
		exits(ts, false, words)
		if took := time.Since(start); took > most+30*time.Second {
			ts.Fatalf("took %v to end, with a time of %v", took, most)
		}
		if pattern.MatchString(ts.ReadFile("stderr")) {
			return
		}
	}
	ts.Fatalf("no match for %q in standard error", args[1])
}

// appears is the script command `appears FILE`: a background command makes the file, in five minutes at most.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: appears FILE")
	}
	for range 6000 {
		if exists(ts.MkAbs(args[0])) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s isn't there", args[0])
}

// gone is the script command `gone TEXT`: no process has the text in its command line. One that was killed just before may need
// some time for its end; what is looked for here would go on for hours.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] == "" {
		ts.Fatalf("usage: gone TEXT")
	}
	var left []string
	for range 200 {
		if left = processesWith(args[0]); len(left) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("left running: %s", strings.Join(left, "; "))
}

// processesWith returns the command lines that hold a text, of all processes.
func processesWith(text string) (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is a good one
	for _, file := range files {
		command, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(command), text) {
			found = append(found, file+": "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}

// clean is the script command `clean [STORE RUNROOT]`: no working container is left in the store, nothing is recorded as
// mounted, the directory for temporary files is empty, and no dead run's journal names anything but layers, which go when they
// are a day old. `! clean` wants a container left.
func clean(ts *testscript.TestScript, neg bool, args []string) {
	store, runroot := ts.Getenv("STORE"), ts.Getenv("RUNROOT")
	switch len(args) {
	case 0:
	case 2:
		store, runroot = ts.MkAbs(args[0]), ts.MkAbs(args[1])
	default:
		ts.Fatalf("usage: clean [STORE RUNROOT]")
	}
	if neg {
		if len(containersIn(ts, store, runroot)) == 0 {
			ts.Fatalf("no container is left")
		}
	} else if left := remains(ts, store, runroot); left != "" {
		ts.Fatalf("%s", left)
	}
}

// cleanly is the script command `cleanly STATUS COMMAND...`: as exits, and nothing is left then, as clean has it. On a busy machine
// an interrupted call of the library may take longer than it is waited for, and its journal is there for the next run: then prune
// leaves nothing, and the command gets another try.
func cleanly(ts *testscript.TestScript, neg bool, args []string) {
	left := ""
	for range 4 {
		exits(ts, neg, args)
		if left = remains(ts, ts.Getenv("STORE"), ts.Getenv("RUNROOT")); left == "" {
			return
		}
		ts.Logf("%s", left)
		ts.Check(ts.Exec("rlbuild", "prune"))
		clean(ts, false, nil)
	}
	ts.Fatalf("%s", left)
}

// remains says what is left that clean looks for, "" for nothing.
func remains(ts *testscript.TestScript, store, runroot string) string {
	if containers := containersIn(ts, store, runroot); len(containers) > 0 {
		return "containers are left: " + strings.Join(containers, " ")
	}
	mounts, err := filepath.Glob(filepath.Join(runroot, "*-layers", "mountpoints.json"))
	ts.Check(err)
	for _, file := range mounts {
		var mounted []any
		readJSON(ts, file, &mounted)
		if len(mounted) > 0 {
			return fmt.Sprintf("recorded as mounted: %v", mounted)
		}
	}
	entries, err := os.ReadDir(ts.Getenv("TMPDIR"))
	ts.Check(err)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "buildah-cache-") { // which are there to stay
			return "left in TMPDIR: " + entry.Name()
		}
	}
	dead, err := journal.Dead(context.Background(), filepath.Join(runroot, "rlbuild"))
	ts.Check(err)
	left := ""
	for _, remains := range dead {
		remains.Release()
		for _, entry := range remains.Entries {
			if entry.Kind != journal.Layer {
				left = fmt.Sprintf("a journal is left that names %s %q", entry.Kind, entry.Words)
			}
		}
	}
	return left
}

// containersIn returns the IDs of a store's containers, those that have a record and those that only have a folder left.
func containersIn(ts *testscript.TestScript, store, runroot string) []string {
	found := map[string]bool{}
	for _, pattern := range []string{store + "/*-containers/*containers.json", runroot + "/*-containers/*containers.json"} {
		files, err := filepath.Glob(pattern)
		ts.Check(err)
		for _, file := range files {
			var records []struct{ ID string }
			readJSON(ts, file, &records)
			for _, record := range records {
				found[record.ID] = true
			}
		}
	}
	folders, err := filepath.Glob(store + "/*-containers/*/")
	ts.Check(err)
	for _, folder := range folders {
		found[filepath.Base(folder)] = true
	}
	ids := make([]string, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	return ids
}

func readJSON(ts *testscript.TestScript, file string, into any) {
	data, err := os.ReadFile(file)
	ts.Check(err)
	if len(data) > 0 {
		ts.Check(json.Unmarshal(data, into))
	}
}

// endPodman ends the process that podman leaves behind to hold its namespaces.
func endPodman(runtime string) {
	data, err := os.ReadFile(filepath.Join(runtime, "libpod/tmp/pause.pid"))
	if err != nil {
		return // no podman ran
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
	}
}
