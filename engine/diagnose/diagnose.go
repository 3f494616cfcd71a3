// Package diagnose says why a command failed: from facts about where it ran, the files that it saw, and the last lines that
// it printed.
package diagnose

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// Cause is a known trouble with the facts of a case. What finds one looks at files and at the kernel's state; what a command
// printed only says where to look. Without facts there is no cause: a wrong guess is worse than none. Some facts are an
// image's own words, and may hold what a terminal obeys.
type Cause struct {
	Of    *trouble.Trouble
	Facts trouble.Facts
}

// The places that commands run in, as messages name them.
const (
	Container = "the container"
	Machine   = "this machine"
)

// Scene is where a command failed, as far as that can still be looked at.
type Scene struct {
	Place       string     // Container or Machine
	Files       *rootfs.FS // the tree that the command ran in; what was mounted there for it alone is gone; nil if all is gone
	Mounts      []Mount    // in the tree
	Made        []Made     // for the command alone
	Devices     []string   // that it was shown
	HostNetwork bool
	UserNS      bool // capabilities count inside of a user namespace only
	IDs         IDs  // that are mapped where it ran
	OwnIDs      bool // they are of a user namespace of the container's own

	Command Command
	User    User
}

// Command is what failed.
type Command struct {
	Words []string // for a first look only: no quotes are undone
	Shell bool     // they are a line for the shell argv[0]
	Dir   string   // working directory, in the tree
	Env   []string // NAME=VALUE
}

// User is whom a command ran as.
type User struct {
	Inside       sandbox.User // by the IDs that the command saw
	Outside      sandbox.User // by those that his files have for this process
	Unknown      bool         // who it was isn't known: Inside is somebody who isn't root
	Capabilities []string     // that he was given; of no use for another user than root
}

// Mount is something that a command was shown in its tree.
type Mount struct {
	Source           string // of the host, absolute; "" for what isn't the host's
	Target           string // absolute
	ReadOnly, NoExec bool
	Overlay          bool // of which the command may have changed what it saw
}

// hidden tells whether nobody can look at what the command saw: that is gone, or another container's.
func (m *Mount) hidden() bool { return m.Source == "" || m.Overlay }

// Made is something that was made for a command, with an owner and a mode that its option names.
type Made struct {
	Verb, What, Target string // "cache", "the cache", an absolute path
	Owner              rootfs.Info
}

// Printed says what the last lines of a command lead to, the very last first; nil if that explains nothing. Code is its status.
func (s *Scene) Printed(code int, lines []string) *Cause {
	if k := s.UnmappedUser(); k != nil {
		return k
	}
	for _, line := range lines {
		for _, look := range []func(string) *Cause{
			func(line string) *Cause { return s.namesProgram(code, line) },
			func(line string) *Cause { return s.refused(line, lines) },
			s.refusedID, s.refusedPath,
		} {
			if k := look(line); k != nil {
				return k
			}
		}
	}
	return nil
}

// UnmappedUser says whether the command was to run as somebody whom nobody can be.
func (s *Scene) UnmappedUser() *Cause {
	if s.User.Unknown {
		return nil
	}
	return s.beyond(fmt.Sprint(s.User.Inside.UID), fmt.Sprint(s.User.Inside.GID))
}

// has tells whether the command could use a capability, as far as its user namespace goes. Host commands have all.
func (s *Scene) has(capability string) bool {
	return s.User.Inside.UID == 0 && (s.Place == Machine || slices.Contains(s.User.Capabilities, capability))
}

// setting reads a setting of the kernel, "net/ipv4/ping_group_range", as its words.
func setting(name string) []string {
	text, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}
