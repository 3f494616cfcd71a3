package rootless

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rlbuild/rlbuild/engine/trouble"
)

// unmapped is a map that couldn't be written.
type unmapped struct{ errno syscall.Errno }

func (u unmapped) Error() string { return "mapping IDs: " + u.errno.Error() }
func (u unmapped) Unwrap() error { return u.errno }

// mapIDs maps what p says in the namespace that the process has left for, or the caller's own IDs alone when a helper
// fails; p.reason says so then.
func (p *plan) mapIDs(me caller, outside *outside) error {
	switch {
	case !p.setgroups:
		if err := mapOwn("uid_map", me.uid); err != nil {
			return err
		}
		return mapOwn("gid_map", me.gid)
	case p.helpers == nil:
		return p.writeMaps(outside)
	}
	return p.runHelpers(me, outside)
}

// mapOwn maps one ID to root, which a process may do for itself.
func mapOwn(file string, id int) error {
	if file == "gid_map" {
		// Who may drop a group may get at files that are closed to its members: user_namespaces(7).
		if err := writeOnce("/proc/self/setgroups", "deny"); err != nil {
			return err
		}
	}
	return writeOnce("/proc/self/"+file, fmt.Sprintf("0 %d 1\n", id))
}

// writeOnce writes text to a file of /proc, which takes it all at once.
func writeOnce(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(text)
		file.Close() // what matters is what the write returned
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unmapped{errno}
	}
	return err
}

// writeMaps has the maps written from outside: that takes capabilities of the old namespace.
func (p *plan) writeMaps(outside *outside) error {
	dir := fmt.Sprintf("/proc/%d/", os.Getpid())
	_, results, err := outside.do([]errand{
		write(dir+"uid_map", strings.Join(mapLines(p.uids), "\n")),
		write(dir+"gid_map", strings.Join(mapLines(p.gids), "\n")),
	})
	for _, errno := range results {
		if errno != 0 {
			return unmapped{syscall.Errno(errno)}
		}
	}
	return err
}

// runHelpers has newuidmap and newgidmap write the maps.
func (p *plan) runHelpers(me caller, outside *outside) error {
	helpers := []struct {
		name, file string
		own        int
		maps       []specs.LinuxIDMapping
	}{{"newuidmap", "uid_map", me.uid, p.uids}, {"newgidmap", "gid_map", me.gid, p.gids}}
	var errands []errand
	for i, h := range helpers {
		argv := []string{h.name, fmt.Sprint(os.Getpid())}
		argv = append(argv, strings.Fields(strings.Join(mapLines(h.maps), " "))...)
		errands = append(errands, execute(p.helpers[i], argv...))
	}
	printed, results, err := outside.do(errands)
	if err != nil {
		return err
	}
	for i, status := range results {
		if status == 0 {
			continue
		}
		if p.reason == "" {
			facts := trouble.Facts{"helper": helpers[i].name, "status": fmt.Sprint(status), "user": me.name, "detail": "it says nothing"}
			if text := strings.Join(strings.Fields(printed), " "); text != "" {
				facts["detail"] = text
			}
			p.because(trouble.HelperFailed, facts)
		}
		if err := mapOwn(helpers[i].file, helpers[i].own); err != nil {
			return err
		}
	}
	return nil
}

// mapLines returns maps as the kernel and the helpers take them: ID inside, ID outside, size.
func mapLines(maps []specs.LinuxIDMapping) []string {
	var lines []string
	for _, m := range maps {
		lines = append(lines, fmt.Sprint(m.ContainerID, m.HostID, m.Size))
	}
	return lines
}
