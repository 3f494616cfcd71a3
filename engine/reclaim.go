package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.podman.io/storage/pkg/mount"

	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/store"
)

// runtimePatience bounds how long an OCI runtime may take to delete a container.
const runtimePatience = 10 * time.Second

// Reclaimed is what was found of dead runs.
type Reclaimed struct {
	Runs int      // of which something was there
	Gone []Gone   // in the order it went
	Left []string // what is still there and why, a line each
	Wait []string // what stays for now, and why, a line each
}

// Gone is one thing that isn't there any more.
type Gone struct{ Kind, Name string }

// Summary counts what is gone: "2 containers, 1 process".
func (r *Reclaimed) Summary() string {
	var kinds []string
	count := map[string]int{}
	for _, gone := range r.Gone {
		if count[gone.Kind]++; count[gone.Kind] == 1 {
			kinds = append(kinds, gone.Kind)
		}
	}
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", count[kind], plural(kind, count[kind]))
	}
	return strings.Join(kinds, ", ")
}

func plural(noun string, n int) string {
	switch {
	case n == 1:
		return noun
	case strings.HasSuffix(noun, "ss"):
		return noun + "es"
	case strings.HasSuffix(noun, "y"):
		return strings.TrimSuffix(noun, "y") + "ies"
	}
	return noun + "s"
}

// Reclaim takes away what dead runs have left of this store and outside of it: processes, containers, mounts, temporary files. What
// live runs, other tools and users have is left alone, and of the dead runs what they were told to keep. With all it
// looks for containers whose run has no journal any more, because the run root was lost, also when no run is known to have died.
func Reclaim(s *store.Store, all bool) (*Reclaimed, error) {
	r := &reclaim{store: s, dir: s.JournalDir(), claimed: map[string]bool{}, runs: map[string]bool{}, found: &Reclaimed{}}
	if err := os.Mkdir(r.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("looking for what killed runs have left: %w", err)
	}
	dead, err := journal.Dead(r.dir)
	if err != nil {
		return nil, fmt.Errorf("looking for what killed runs have left: %w", err)
	}
	for _, remains := range dead {
		r.claimed[remains.ID] = true
	}
	for _, remains := range dead {
		switch here := s.JournalHeader(); {
		case remains.Root == "": // it was killed before it owned anything, or a power cut has emptied it
			err = errors.Join(err, r.run(remains))
		case remains.Root != here.Root || remains.Driver != here.Driver:
			remains.Release() // a run on that store will look after it
		case remains.Owners > here.Owners:
			remains.Release()
			r.runs[remains.ID] = true
			r.found.Left = append(r.found.Left, fmt.Sprintf("all of it: its files may have %d owners, and %d can be mapped here", remains.Owners, here.Owners))
		default:
			err = errors.Join(err, r.run(remains))
		}
	}
	if all || len(dead) > 0 {
		// Also what the journals of the dead don't say: a power cut takes what wasn't on the disk yet.
		r.sweep()
		err = errors.Join(err, r.lost())
	}
	r.found.Runs = len(r.runs)
	return r.found, err
}

// reclaim is one round of reclaiming.
type reclaim struct {
	store   *store.Store
	dir     string          // of the journals
	claimed map[string]bool // the dead runs, by ID
	runs    map[string]bool // of which something was there, by ID
	found   *Reclaimed
}

func (r *reclaim) gone(kind, name string) {
	r.found.Gone = append(r.found.Gone, Gone{kind, name})
}

// stays notes that something is still there.
func (r *reclaim) stays(what string, err error) {
	reason := err.Error()
	if errors.Is(err, fs.ErrPermission) {
		reason = "it has files of owners that aren't mapped here"
	}
	r.found.Left = append(r.found.Left, what+": "+reason)
}

// run takes away what one dead run has left, and its journal when nothing is left.
func (r *reclaim) run(remains *journal.Remains) error {
	before := len(r.found.Gone) + len(r.found.Left)
	owned := sortEntries(remains.Entries)
	var layers []string
	for _, c := range owned.containers {
		layers = append(layers, c.layer)
	}
	ended, err := remains.EndProcesses(layers)
	for _, process := range ended {
		r.gone("process", process)
	}
	if err != nil {
		r.stays("processes", err)
	}
	var left []journal.Entry
	for _, e := range owned.runtimes {
		r.endRuntime(e.Words)
	}
	for _, c := range owned.containers {
		if !r.container(c) {
			left = append(left, journal.Entry{Kind: journal.Container, Words: []string{c.id, c.layer}})
		}
	}
	for _, id := range owned.images {
		if !r.image(id) {
			left = append(left, journal.Entry{Kind: journal.Image, Words: []string{id}})
		}
	}
	for _, id := range owned.mounts {
		if !r.unmount(id) {
			left = append(left, journal.Entry{Kind: journal.Mounted, Words: []string{id}})
		}
	}
	for _, path := range owned.temporary {
		if !r.temporary(path, remains.ID) {
			left = append(left, journal.Entry{Kind: journal.Temporary, Words: []string{path}})
		}
	}
	orphans, err := r.orphans(owned.layers)
	if n := len(orphans); n > 0 {
		pronoun := "them"
		if n == 1 {
			pronoun = "it"
		}
		r.found.Wait = append(r.found.Wait, fmt.Sprintf("%d %s without an image, less than a day old: another tool may be about to use %s",
			n, plural("layer", n), pronoun))
	}
	for _, id := range orphans {
		left = append(left, journal.Entry{Kind: journal.Layer, Words: []string{id}})
	}
	if len(r.found.Gone)+len(r.found.Left) > before {
		r.runs[remains.ID] = true
	}
	if err != nil {
		remains.Release()
		return err
	}
	if len(left) > 0 {
		return remains.Keep(left)
	}
	return remains.Discard()
}

// ownedContainer is a container of a dead run.
type ownedContainer struct{ id, layer string }

// owned is what the entries of a journal come to.
type owned struct {
	containers []ownedContainer
	images     []string // without their names
	layers     []string
	mounts     []string // of images and of containers that stay
	temporary  []string
	runtimes   []journal.Entry
}

func sortEntries(entries []journal.Entry) *owned {
	o := &owned{}
	for _, e := range entries {
		word := e.Words[0]
		switch e.Kind {
		case journal.Container:
			if len(e.Words) == 2 {
				o.containers = append(o.containers, ownedContainer{word, e.Words[1]})
			}
		case journal.Kept:
			o.containers = slices.DeleteFunc(o.containers, func(c ownedContainer) bool { return c.id == word })
		case journal.Layer:
			o.layers = append(o.layers, word)
		case journal.Image:
			o.images = append(o.images, word)
		case journal.Whole:
			o.images = slices.DeleteFunc(o.images, func(id string) bool { return id == word })
		case journal.Mounted:
			o.mounts = append(o.mounts, word)
		case journal.Temporary:
			o.temporary = append(o.temporary, word)
		case journal.Runtime:
			o.runtimes = append(o.runtimes, e)
		}
	}
	return o
}

// endRuntime deletes the containers of an OCI runtime, and with them what it has outside of its directory: control groups.
func (r *reclaim) endRuntime(words []string) {
	if len(words) != 2 {
		return
	}
	program, dir := words[0], words[1]
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // it never ran a container
	}
	for _, entry := range entries {
		ctx, cancel := context.WithTimeout(context.Background(), runtimePatience)
		// What can't be done here has no consequences but an empty control group: its processes are gone.
		if exec.CommandContext(ctx, program, "--root", dir, "delete", "--force", entry.Name()).Run() == nil {
			r.gone("runtime container", entry.Name())
		}
		cancel()
	}
}

// temporary deletes a file, or a directory with what is in it, and tells whether it is gone.
func (r *reclaim) temporary(path, run string) bool {
	if !filepath.IsAbs(path) || !strings.Contains(filepath.Base(path), run) {
		return true // not a name that a run makes
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	// What is mounted there may be the user's own. It isn't, unless the run was in a mount namespace together with this one. So may
	// the directory itself be: the run's other one, shown there for the users of its containers.
	if err == nil {
		err = mount.RecursiveUnmount(path)
	}
	if err == nil {
		err = os.RemoveAll(path)
	}
	if err != nil {
		r.stays(path, err)
		return false
	}
	kind := "temporary file"
	if info.IsDir() {
		kind = "temporary directory"
	}
	r.gone(kind, path)
	return true
}

// sweep removes what can't be journalled: directories that an opening store tries mounts in.
func (r *reclaim) sweep() {
	dirs, _ := filepath.Glob(filepath.Join(r.store.Choice.Root, "rlbuild-trial-*")) // the pattern is a good one, unless the root's name has brackets
	for _, dir := range dirs {
		var stat syscall.Stat_t
		if syscall.Lstat(dir, &stat) == nil && time.Since(time.Unix(stat.Ctim.Unix())) > time.Hour && os.RemoveAll(dir) == nil {
			r.gone("temporary directory", dir)
		}
	}
}
