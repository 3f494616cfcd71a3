package diagnose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// Path says which component of a path of the host refuses this process, for an operation that failed with err; nil if
// that says no more than err.
func Path(name string, want uint32, err error) *Cause {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	o := reach.Find(name, want)
	switch {
	case o == nil:
		return nil
	case o.Unmapped:
		return &Cause{trouble.UnmappedOwner, trouble.Facts{
			"path": o.Path, "mode": fmt.Sprintf("%04o", o.Mode.Perm()), "owner": unmappedOwner(o)}}
	case o.Dangling != "":
		return &Cause{trouble.DanglingLink, trouble.Facts{"path": o.Path, "target": o.Dangling}}
	case o.Missing && o.Path != filepath.Clean(name):
		return &Cause{trouble.MissingPath, trouble.Facts{"path": o.Path}}
	}
	return nil
}

// unmappedOwner says whom a component belongs to, as the beginning of "mapped in the user namespace".
func unmappedOwner(o *reach.Obstacle) string {
	if who := o.Who(); !strings.Contains(who, " and ") {
		return who + " that isn't"
	}
	return "a user and a group that aren't"
}

// refusal matches a line that says that a file is closed or can't be written.
var refusal = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(?:permission denied|EACCES|(read-only file system|EROFS))\b`)
})

// writing matches a line that says that something was to be changed.
var writing = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)creat|writ|remov|unlink|renam|mov|mkdir|touch|delet|append|utime`)
})

// named matches what may be a path in a line.
var named = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[^\s:'"‘’“”(),;=\[\]]+`) })

// refusedPath says why a path that a line is about is closed to the command. It knows of the host's files alone: what an image
// allows whom is the image's own affair.
func (s *Scene) refusedPath(line string) *Cause {
	m := refusal().FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	for _, word := range named().FindAllString(line, -1) {
		name, ok := s.pathIn(line, word)
		if !ok {
			continue
		}
		mount := s.mountAt(name)
		switch {
		case s.Place == Machine:
			if k := s.hostRefused(name); k != nil && m[1] == "" {
				return k
			}
		case m[1] == "" && (mount == nil || mount.hidden()):
			if k := s.madeRefused(name, writing().MatchString(line)); k != nil {
				return k
			}
		case mount == nil:
		case m[1] != "":
			if mount.ReadOnly {
				return &Cause{trouble.ReadOnlyMount, trouble.Facts{"path": name, "target": mount.Target}}
			}
		default:
			if k := s.stepRefused(mount, name, writing().MatchString(line)); k != nil {
				return k
			}
		}
	}
	return nil
}

// pathIn returns the path that a word of a line is; ok is false for one that is something else, as far as can be told. A name
// alone is a path where it is quoted, or stands between colons, and something of that name is there or was to be made.
func (s *Scene) pathIn(line, word string) (name string, ok bool) {
	if path.IsAbs(word) {
		return path.Clean(word), true
	}
	name = path.Join("/", s.Command.Dir, word)
	if strings.Contains(word, "/") { // the command may have changed its directory
		if _, err := s.stat(name); !absent(err) {
			return name, true
		}
		_, err := s.stat(path.Dir(name))
		return name, err == nil && writing().MatchString(line)
	}
	marked := false
	for _, around := range []string{"'%s'", `"%s"`, "‘%s’", ": %s:"} {
		marked = marked || strings.Contains(line, fmt.Sprintf(around, word))
	}
	if _, err := s.stat(name); absent(err) && !writing().MatchString(line) {
		return "", false
	}
	return name, marked
}

// madeRefused says whom a cache, secret or socket was made for, if that isn't the step's user.
func (s *Scene) madeRefused(name string, writing bool) *Cause {
	for _, m := range s.Made {
		below := strings.HasPrefix(name, m.Target+"/")
		if name != m.Target && !below || s.User.Inside.UID == 0 {
			continue
		}
		want := uint32(unix.R_OK)
		if below {
			want = unix.X_OK
		}
		if writing || m.Verb == "ssh" {
			want |= unix.W_OK
		}
		if !allowed(m.Owner, s.User.Inside, want) {
			return &Cause{trouble.MountUser, trouble.Facts{"what": m.What, "target": m.Target, "mode": fmt.Sprintf("%04o", m.Owner.Bits()),
				"owner": fmt.Sprint(m.Owner.UID), "user": fmt.Sprint(s.User.Inside.UID), "group": fmt.Sprint(s.User.Inside.GID), "verb": m.Verb}}
		}
	}
	return nil
}

// hostRefused says what keeps a host command, which may do what this process may, from a path.
func (s *Scene) hostRefused(name string) *Cause {
	if k := Path(name, reach.Read, fs.ErrPermission); k != nil && k.Of == trouble.UnmappedOwner {
		return k
	}
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// It was to be made.
	if k := Path(path.Dir(name), reach.Write|reach.Search, fs.ErrPermission); k != nil && k.Of == trouble.UnmappedOwner {
		return k
	}
	return nil
}

// stepRefused says which component of a path in a mount of the host's refuses the step's user. What is above the mount's
// source doesn't count: the step doesn't go that way.
func (s *Scene) stepRefused(m *Mount, name string, writing bool) *Cause {
	rest := strings.FieldsFunc(strings.TrimPrefix(name, m.Target), func(r rune) bool { return r == '/' })
	at := m.Source
	for i := 0; ; i++ {
		look := os.Lstat // a link leads elsewhere in the step than it does here
		if i == 0 {
			look = os.Stat // the source, which the user has named
		}
		info, err := look(at)
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return nil // missing, or behind what was looked at before
		}
		want, last := []uint32{unix.X_OK}, i == len(rest)
		if last {
			if want = []uint32{unix.R_OK}; info.IsDir() {
				want = []uint32{unix.R_OK, unix.X_OK}
			}
			if writing {
				want = append(want, unix.W_OK)
			}
		} else if _, err := os.Lstat(filepath.Join(at, rest[i])); errors.Is(err, fs.ErrNotExist) {
			want, last = []uint32{unix.X_OK, unix.W_OK}, true // it was to be made
		}
		for _, bit := range want {
			if k := s.stepMay(at, info, bit); k != nil {
				k.Facts["path"] = filepath.Join(m.Target, strings.TrimPrefix(at, m.Source))
				if k.Facts["path"] != at {
					k.Facts["mode"] += ", " + at + " on the host"
				}
				return k
			}
		}
		if last {
			return nil
		}
		at = filepath.Join(at, rest[i])
	}
}

// stepMay says why a step's user may not do to a file of the host's what bit is for, nil if he may.
func (s *Scene) stepMay(at string, info fs.FileInfo, bit uint32) *Cause {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	file := rootfs.Info{Mode: info.Mode(), UID: int(st.Uid), GID: int(st.Gid)}
	user := s.User.Outside
	if allowed(file, user, bit) {
		return nil
	}
	facts := trouble.Facts{"mode": fmt.Sprintf("%04o", file.Bits())}
	refused := reach.Find(at, bit)
	_, nobody := reach.Overflow()
	shared := file.GID == nobody && file.Bits()>>3&bit == bit && slices.Contains(ownGroups(), nobody)
	switch {
	case refused != nil && refused.Unmapped && refused.Path == filepath.Clean(at):
		facts["owner"] = unmappedOwner(refused)
		return &Cause{trouble.UnmappedOwner, facts}
	case refused != nil:
		return nil
	case shared && !s.User.Inside.KeepGroups:
		return &Cause{trouble.LostGroup, facts}
	case s.User.Inside.UID == 0 && s.has("CAP_DAC_OVERRIDE"):
		return nil // root may: it was something else
	}
	facts["owner"] = "you"
	if file.UID != 0 {
		facts["owner"] = fmt.Sprintf("user %d", file.UID)
	}
	facts["user"] = fmt.Sprintf("user %d", s.User.Inside.UID)
	return &Cause{trouble.StepUser, facts}
}

// allowed tells whether the permission bits let a user, who isn't root, do what bit is for.
func allowed(file rootfs.Info, user sandbox.User, bit uint32) bool {
	bits := file.Bits()
	switch {
	case uint32(file.UID) == user.UID:
		bits >>= 6
	case uint32(file.GID) == user.GID, slices.Contains(user.Groups, uint32(file.GID)):
		bits >>= 3
	}
	return bits&bit == bit
}

// ownGroups are this process's supplementary groups.
func ownGroups() []int {
	groups, _ := unix.Getgroups()
	return groups
}
