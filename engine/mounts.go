package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.podman.io/buildah/pkg/parse"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
)

// Mount is something that a step finds at a place in its root, which the image doesn't get: a BindMount, VolumeMount,
// CacheMount, TmpfsMount, SecretMount or SSHMount.
type Mount interface {
	// target is where the step finds it; relative names start at the step's working directory. "" is nowhere.
	target() string
	// prepare makes what is to be shown, and notes how to undo that.
	prepare(ctx context.Context, m *stepMounts) error
}

// Place is where the source of a mount is looked up, and its name there. No link leads out of the root that is named
// first of these: a container's, an image's, a directory's.
type Place struct {
	Container *Container
	Image     string // a name or an ID in the store
	Root      string // "" or "/" is the host's whole tree
	Path      string
}

// MountFlags are what the mounts of files have in common.
type MountFlags struct {
	ReadOnly     bool // for what is mounted below it as well
	NoSuid       *bool
	NoDev        *bool
	NoExec       *bool  // these three: nil leaves it as the source has it
	Propagation  string // "private" (also ""), "slave", "shared" or "unbindable", and with an "r" in front
	NonRecursive bool   // without what is mounted below the source
	Relabel      string // for SELinux: "shared", "private" or "" for not at all
	Chown        bool   // give all of it to the step's user
}

// BindMount shows a file or directory. What a step writes to one that isn't read-only is gone with the step, as with
// buildah.
type BindMount struct {
	Source Place
	Target string
	Flags  MountFlags
}

// VolumeMount shows a file or directory of the host, which a step can write to.
type VolumeMount struct {
	Source   string // absolute
	Target   string // absolute
	Flags    MountFlags
	Overlay  bool   // what the step writes goes elsewhere
	UpperDir string // with WorkDir: where that is, to stay; absolute
	WorkDir  string // on the same file system
}

// CacheMount is a directory that outlives the run, shared with buildah's builds of the same user.
type CacheMount struct {
	ID      string // "" is the target's name
	Target  string
	Source  string // a place below it
	From    *Place // a root that is the cache; nil is a directory of the user's own
	Sharing string // "shared" (also ""): at once; "locked": one after the other; "private": each has its own
	Mode    *uint32
	UID     uint32
	GID     uint32 // as Mode, of a new cache; other owners have other caches
	Flags   MountFlags
}

// TmpfsMount is an empty directory in memory.
type TmpfsMount struct {
	Target string
	Size   string // bytes, or with k, m, g or %; "" is half of the memory
	Mode   *uint32
	CopyUp bool // it begins with what the root has there
	Flags  MountFlags
}

// SecretMount is a file in memory, a variable of the environment, or both.
type SecretMount struct {
	ID       string
	Target   string // "" is /run/secrets/ID, or nowhere if there is a Variable
	Variable string
	File     Source // the host's, which holds it
	Value    []byte // nil takes the file's
	Optional bool   // nothing is shown if the file isn't there
	Mode     *uint32
	UID, GID uint32
}

// SSHMount is the socket of an agent that signs with the user's keys.
type SSHMount struct {
	ID       string   // for RUN of a Containerfile, which asks for it by that name
	Target   string   // "" is /run/buildkit/ssh_agent.N
	Sources  []Source // one agent's socket, or files with private keys; none shows nothing
	Mode     *uint32
	UID, GID uint32
}

func (b *BindMount) target() string   { return b.Target }
func (v *VolumeMount) target() string { return v.Target }
func (c *CacheMount) target() string  { return c.Target }
func (t *TmpfsMount) target() string  { return t.Target }
func (s *SSHMount) target() string    { return s.Target }

func (s *SecretMount) target() string {
	if s.Target == "" && s.Variable == "" {
		return "/run/secrets/" + s.ID
	}
	return s.Target
}

// ParseVolume parses buildah's "source:target[:options]". A relative source starts at dir.
func ParseVolume(text, dir string) (*VolumeMount, error) {
	bad := func(format string, args ...any) error {
		return failure.New("volume", fmt.Sprintf("%q", text), format, args...)
	}
	parts := parse.SplitStringWithColonEscape(text)
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" {
		return nil, bad("is not SOURCE:TARGET or SOURCE:TARGET:OPTIONS")
	}
	v := &VolumeMount{Source: parts[0], Target: parts[1]}
	if !filepath.IsAbs(v.Source) {
		v.Source = filepath.Join(dir, v.Source)
	}
	if !path.IsAbs(v.Target) {
		return nil, bad("the place in the container, %q, is not absolute", v.Target)
	}
	if len(parts) == 2 {
		return v, nil
	}
	options, err := parse.ValidateVolumeOpts(strings.Split(parts[2], ","))
	if err != nil {
		return nil, bad("%w", err)
	}
	for _, option := range options {
		if err := v.set(option, dir); err != nil {
			return nil, bad("option %q: %w", option, err)
		}
	}
	if (v.UpperDir == "") != (v.WorkDir == "") {
		return nil, bad("upperdir and workdir belong together")
	}
	if v.UpperDir != "" && !v.Overlay {
		return nil, bad("upperdir and workdir are for an overlay: add the option O")
	}
	return v, nil
}

// set notes one option, which is known to be one of the library's.
func (v *VolumeMount) set(option, dir string) error {
	f := &v.Flags
	name, value, valued := strings.Cut(option, "=")
	if !valued {
		switch option {
		case "ro", "rw":
			f.ReadOnly = option == "ro"
		case "suid", "nosuid":
			f.NoSuid = new(option == "nosuid")
		case "dev", "nodev":
			f.NoDev = new(option == "nodev")
		case "exec", "noexec":
			f.NoExec = new(option == "noexec")
		case "z":
			f.Relabel = "shared"
		case "Z":
			f.Relabel = "private"
		case "U":
			f.Chown = true
		case "O":
			v.Overlay = true
		case "bind":
			f.NonRecursive = true
		case "rbind":
		case "copy", "nocopy", "nocreate":
			return errors.New("is for podman's named volumes, and this is a directory of the host")
		case "no-dereference":
			return errors.New("no way of running steps shows a link itself: copy it instead")
		default:
			if !slices.Contains(propagations, option) {
				return errors.New("isn't supported; files can be given to the step's user with the option U")
			}
			f.Propagation = option
		}
		return nil
	}
	if !filepath.IsAbs(value) {
		value = filepath.Join(dir, value)
	}
	if strings.ContainsAny(value, `,:\`) {
		return errors.New(`overlay takes no name with a comma, colon or backslash`)
	}
	switch name {
	case "upperdir":
		v.UpperDir = value
	case "workdir":
		v.WorkDir = value
	default:
		return errors.New("isn't supported; files can be given to the step's user with the option U")
	}
	return nil
}

// propagations are the ways mounts can propagate (mount_namespaces(7)).
var propagations = []string{
	"private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable",
}

// propagation is what the kernel calls a way.
func (f *MountFlags) propagation() uint64 {
	switch strings.TrimPrefix(f.Propagation, "r") {
	case "slave":
		return unix.MS_SLAVE
	case "shared":
		return unix.MS_SHARED
	case "unbindable":
		return unix.MS_UNBINDABLE
	}
	return unix.MS_PRIVATE
}

// attributes are the mount attributes that are set and cleared (mount_setattr(2)).
func (f *MountFlags) attributes() (set, clear uint64) {
	if f.ReadOnly {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	for attribute, wanted := range map[uint64]*bool{
		unix.MOUNT_ATTR_NOSUID: f.NoSuid, unix.MOUNT_ATTR_NODEV: f.NoDev, unix.MOUNT_ATTR_NOEXEC: f.NoExec,
	} {
		switch {
		case wanted == nil:
		case *wanted:
			set |= attribute
		default:
			clear |= attribute
		}
	}
	return set, clear
}

// volumeTexts checks volumes for all steps of a container, and writes them as buildah reads them in the container's record.
func (b *Builder) volumeTexts(texts []string) (absolute []string, err error) {
	for _, text := range texts {
		v, err := ParseVolume(text, b.options.Dir)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(v.Source); err != nil {
			if k := pathCause(v.Source, reach.Read, err); k != nil {
				return nil, k.explain("volume", strconv.Quote(text), err)
			}
			return nil, explain("volume", strconv.Quote(text), err)
		}
		parts := parse.SplitStringWithColonEscape(text)
		for i, name := range []string{v.Source, v.Target} {
			parts[i] = strings.ReplaceAll(name, ":", `\:`)
		}
		absolute = append(absolute, strings.Join(parts, ":"))
	}
	return absolute, nil
}
