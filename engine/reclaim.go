package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/store"
)

// runtimePatience bounds how long an OCI runtime may take to delete a container.
const runtimePatience = 10 * time.Second

// Reclaim takes away what dead runs have left of this store and outside of it: processes, containers, mounts, temporary files. What
// live runs, other tools and users have is left alone, and of the dead runs what they were told to keep. Containers whose run
// has no journal any more, because the run root was lost, are looked for when a run is known to have died, when nobody has looked in
// this store since the run root was new, and with all. When ctx ends it stops between two things; the journals say what is left.
func Reclaim(ctx context.Context, s *store.Store, all bool) (*Reclaimed, error) {
	r := &reclaim{ctx: ctx, store: s, dir: s.JournalDir(), claimed: map[string]bool{}, runs: map[string]bool{}, found: &Reclaimed{}}
	if err := os.Mkdir(r.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("looking for what killed runs have left: %w", err)
	}
	dead, err := journal.Dead(ctx, r.dir)
	if err != nil { // some of them can be good all the same
		r.found.Left = append(r.found.Left, fmt.Sprintf("what is in %s: %v", r.dir, err))
		err = nil
	}
	for _, remains := range dead {
		r.claimed[remains.ID] = true
	}
	// All their processes before all else of theirs: what runs for one of them may see the mount that another one has left.
	var ended []*endedRun
	for _, remains := range dead {
		switch here := s.JournalHeader(); {
		case ctx.Err() != nil:
			remains.Release()
		case remains.Root != "" && (remains.Root != here.Root || remains.Driver != here.Driver):
			remains.Release() // a run on that store will look after it
		case remains.Owners > here.Owners:
			remains.Release()
			r.runs[remains.ID] = true
			r.found.Left = append(r.found.Left, fmt.Sprintf("all of it: its files may have %d owners, and %d can be mapped here", remains.Owners, here.Owners))
		default: // also one that was killed before it owned anything, or that a power cut has emptied
			if run := r.end(remains); run != nil {
				ended = append(ended, run)
			}
		}
	}
	for _, run := range ended {
		err = errors.Join(err, r.run(run))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if all || len(dead) > 0 || !journal.Swept(r.dir, s.JournalHeader()) {
		// Also what the journals of the dead don't say: a power cut takes what wasn't on the disk yet, or the run root.
		r.sweep()
		err = errors.Join(err, r.lost())
	}
	r.found.Runs = len(r.runs)
	return r.found, err
}

// reclaim is one round of reclaiming.
type reclaim struct {
	ctx     context.Context
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

// endedRun is a dead run whose processes have ended.
type endedRun struct {
	*journal.Remains
	owned *owned
}

// end ends the processes of one dead run. It returns nil if some of them are still there.
func (r *reclaim) end(remains *journal.Remains) *endedRun {
	owned := sortEntries(remains.Entries, remains.ID)
	before := len(r.found.Gone)
	err := r.endProcesses(remains, owned.containers)
	if err != nil || len(r.found.Gone) > before {
		r.runs[remains.ID] = true
	}
	if err != nil {
		// They may be at work on everything else of the run's.
		r.stays("processes", err)
		remains.Release()
		return nil
	}
	return &endedRun{remains, owned}
}

// run takes away what else one dead run has left, and its journal when nothing is left.
func (r *reclaim) run(run *endedRun) error {
	if r.ctx.Err() != nil {
		run.Release()
		return nil
	}
	before := len(r.found.Gone) + len(r.found.Left)
	left := r.things(run.owned)
	orphans, err := r.orphans(run.owned.layers)
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
	if r.ctx.Err() != nil {
		err = context.Cause(r.ctx) // what it names that is gone does no harm
	}
	if len(r.found.Gone)+len(r.found.Left) > before {
		r.runs[run.ID] = true
	}
	if err != nil {
		run.Release()
		return err
	}
	if len(left) > 0 {
		return run.Keep(left)
	}
	return run.Discard()
}

// endProcesses kills what the run has left running. What runs in one of its containers that a live run works with is that one's,
// and none begins to meanwhile.
func (r *reclaim) endProcesses(remains *journal.Remains, containers []ownedContainer) error {
	unlock, err := journal.Lock(r.ctx, r.dir)
	if err != nil {
		return err
	}
	defer unlock()
	used, err := journal.InUse(r.dir, journal.Used, r.claimed)
	if err != nil {
		return err
	}
	var layers []string
	for _, c := range containers {
		if !used[c.id] {
			layers = append(layers, c.layer)
		}
	}
	ended, err := remains.EndProcesses(r.ctx, layers)
	for _, process := range ended {
		r.gone("process", process)
	}
	return err
}

// things takes away all but processes and layers, and returns what is left.
func (r *reclaim) things(o *owned) (left []journal.Entry) {
	try := func(do func() bool, kind journal.Kind, words ...string) {
		if r.ctx.Err() != nil || !do() {
			left = append(left, journal.Entry{Kind: kind, Words: words})
		}
	}
	for _, e := range o.runtimes {
		r.endRuntime(e.Words[0], e.Words[1])
	}
	for _, c := range o.containers {
		try(func() bool { return r.container(c) }, journal.Container, c.id, c.layer)
	}
	for _, id := range o.images {
		names := o.passing[id]
		try(func() bool { return r.image(id, names) }, journal.Image, append([]string{id}, names...)...)
	}
	for _, id := range o.mounts {
		try(func() bool { return r.unmount(id) }, journal.Mounted, id)
	}
	for _, path := range o.temporary {
		try(func() bool { return r.temporary(path) }, journal.Temporary, path)
	}
	return left
}

// endRuntime deletes the containers of an OCI runtime, and with them what it has outside of its directory: control groups.
func (r *reclaim) endRuntime(program, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // it never ran a container
	}
	for _, entry := range entries {
		ctx, cancel := context.WithTimeout(r.ctx, runtimePatience)
		// What can't be done here has no consequences but an empty control group: its processes are gone.
		if exec.CommandContext(ctx, program, "--root", dir, "delete", "--force", entry.Name()).Run() == nil {
			r.gone("runtime container", entry.Name())
		}
		cancel()
	}
}

// temporary deletes a file, or a directory with what is in it, and tells whether it is gone.
func (r *reclaim) temporary(path string) bool {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	// What is mounted there may be the user's own. It isn't, unless the run was in a mount namespace together with this one. So may
	// the directory itself be: the run's other one, shown there for the users of its containers.
	if err == nil && info.IsDir() {
		err = unmountAll(path)
	}
	if err == nil {
		err = rootfs.RemoveAll(path)
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
		if syscall.Lstat(dir, &stat) == nil && time.Since(time.Unix(stat.Ctim.Unix())) > time.Hour && rootfs.RemoveAll(dir) == nil {
			r.gone("temporary directory", dir)
		}
	}
}
