package store

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	graphdriver "go.podman.io/storage/drivers"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/checkup"
	"github.com/rlbuild/rlbuild/engine/filesystem"
	"github.com/rlbuild/rlbuild/engine/reach"
)

// Below these a run is likely to end for want of room: an image with a compiler takes one or two gigabytes in some ten
// thousand files, and its layers pass through the temporary files; the run root holds locks and lists.
const (
	storeSpace  = 2 << 30
	tempSpace   = 1 << 30
	runSpace    = 4 << 20
	storeInodes = 50_000
)

// networked are the file systems of other machines, by statfs(2)'s number; some of them graphdriver has no names for.
var networked = map[int64]string{
	unix.NFS_SUPER_MAGIC: "nfs", unix.SMB_SUPER_MAGIC: "smb", unix.CIFS_SUPER_MAGIC: "cifs", unix.SMB2_SUPER_MAGIC: "smb2",
	unix.V9FS_MAGIC: "9p", unix.AFS_SUPER_MAGIC: "afs", unix.CEPH_SUPER_MAGIC: "ceph", unix.CODA_SUPER_MAGIC: "coda",
	0x0bd00bd0: "lustre", int64(graphdriver.FsMagicGPFS): "gpfs",
}

// directory is one that a run writes to.
type directory struct {
	name, path string
	option     string // by which another one is named
	driver     string // of the store in it
	temporary  bool   // layers pass through it, nothing stays
	space      uint64 // bytes that should be free
	inodes     uint64 // files that there should be room for
}

// findings are about the way to the directory, and about the file system that it is on.
func (d directory) findings() []checkup.Finding {
	way := checkup.Finding{Area: "directories", Name: d.name + " path", Verdict: checkup.OK}
	dir := existing(d.path)
	if o := reach.Find(dir, reach.Write|reach.Search); o != nil {
		way.Verdict, way.Found = checkup.Failed, fmt.Sprintf("%s: %v", d.path, o)
		way.Cure = "Have the directory given to you, or name another: " + d.option + "; each one above must let you pass (chmod o+x)."
		return []checkup.Finding{way}
	}
	way.Found = d.path
	if strangers := strangersAbove(dir); len(strangers) > 0 {
		// It works: the user passes as owner, by a group that was kept, or as anybody. Only who isn't the user can't.
		way.Found += "; you can pass, though " + list(strangers)
	}
	return []checkup.Finding{way, d.fileSystem(dir)}
}

// existing returns the nearest directory at or above dir that exists.
func existing(dir string) string {
	for dir != "/" && dir != "." && !exists(dir) {
		if _, err := os.Lstat(dir); err == nil || !os.IsNotExist(err) {
			break // it is there, and something is wrong with it
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// strangersAbove names the directories at or above dir that are closed to others and whose owner or group isn't mapped.
func strangersAbove(dir string) (found []string) {
	user, group := reach.Overflow()
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return found
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if ok && info.Mode()&0o001 == 0 && (int(st.Uid) == user || int(st.Gid) == group) {
			whose := "a user that isn't mapped"
			if int(st.Uid) != user {
				whose = "a group that isn't mapped"
			}
			found = append(found, fmt.Sprintf("%s (mode %04o) belongs to %s and is closed to others", dir, info.Mode()&fs.ModePerm, whose))
		}
		if dir == "/" || dir == "." {
			return found
		}
	}
}

// fileSystem is about the one that dir is on.
func (d directory) fileSystem(dir string) checkup.Finding {
	f := checkup.Finding{Area: "directories", Name: d.name + " file system", Verdict: checkup.OK}
	on, err := filesystem.Of(dir)
	if err != nil {
		f.Verdict, f.Found = checkup.Unknown, fmt.Sprintf("%s: %v", dir, err)
		return f
	}
	name, remote := networked[on.Type]
	if !remote {
		name = fileSystem(dir)
	}
	facts := []string{fmt.Sprintf("%s, %s free", name, filesystem.Size(on.Free))}
	if on.Files > 0 { // some file systems have no fixed number of them
		facts = append(facts, fmt.Sprintf("room for %d files", on.FreeFiles))
	}
	var flags []string
	for _, flag := range []struct {
		bit  int64
		name string
	}{{unix.ST_RDONLY, "ro"}, {unix.ST_NOSUID, "nosuid"}, {unix.ST_NOEXEC, "noexec"}, {unix.ST_NODEV, "nodev"}} {
		if on.Has(flag.bit) {
			flags = append(flags, flag.name)
		}
	}
	if len(flags) > 0 {
		facts = append(facts, "mounted "+strings.Join(flags, ", "))
	}
	var cures []string
	limit := func(fact, cure string) {
		f.Verdict, facts, cures = checkup.Limited, append(facts, fact), append(cures, cure)
	}
	switch {
	case on.Free == 0, on.NoFiles():
		limit("it is full", "Free some space, or name a directory elsewhere: "+d.option+".")
		f.Verdict = checkup.Failed
	case on.Free < d.space:
		limit(fmt.Sprintf("less than %s", filesystem.Size(d.space)), "Free some space, or name a directory elsewhere: "+d.option+".")
	case on.Files > 0 && on.FreeFiles < d.inodes:
		limit(fmt.Sprintf("fewer than %d", d.inodes), "Remove files, or name a directory elsewhere: "+d.option+".")
	}
	if d.temporary && name == "tmpfs" {
		limit("it is memory, and whole layers pass through it", "Name a directory on a disk in TMPDIR, such as /var/tmp.")
	}
	if d.temporary && on.Has(unix.ST_NOEXEC) {
		limit("an OCI runtime's steps can't be given input", "Name a directory in TMPDIR that isn't mounted noexec.")
	}
	d.flags(on, remote, limit)
	f.Found, f.Cure = strings.Join(facts, "; "), strings.Join(cures, " ")
	return f
}

// flags says which flags and kinds of the store's file system matter. Overlay mounted by the kernel has flags of its own, and
// device nodes can't be made in a user namespace anyway.
func (d directory) flags(on filesystem.Info, remote bool, limit func(fact, cure string)) {
	if d.driver == "" {
		return
	}
	const local = "Put the store on a local file system with --root."
	if remote {
		limit("overlay can't write to a network file system, and its server may refuse owners it doesn't know", local)
	}
	if d.driver != "vfs" {
		return
	}
	if on.Has(unix.ST_NOEXEC) {
		limit("with vfs steps can't execute anything on it", "Have it mounted without noexec, or put the store elsewhere with --root.")
	}
	if on.Has(unix.ST_NOSUID) {
		limit("with vfs setuid programs of an image don't change the user", "Have it mounted without nosuid, or put the store elsewhere with --root.")
	}
}
