package rootless

import (
	"fmt"
	"math"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/storage/pkg/idtools"
)

func TestUsable(t *testing.T) {
	all := []specs.LinuxIDMapping{{Size: math.MaxUint32}}
	for name, c := range map[string]struct {
		ranges string // "HOST SIZE, …", sorted
		own    int
		have   []specs.LinuxIDMapping
		want   string // "INSIDE HOST SIZE, …"
	}{
		"one":             {"100000 65536", 1000, all, "1 100000 65536"},
		"two":             {"100000 10, 200000 20", 1000, all, "1 100000 10, 11 200000 20"},
		"twice the same":  {"100000 10, 100000 10", 1000, all, "1 100000 10"},
		"overlapping":     {"100000 10, 100005 10", 1000, all, "1 100000 10, 11 100010 5"},
		"own in it":       {"1000 10", 1004, all, "1 1000 4, 5 1005 5"},
		"own first":       {"1000 10", 1000, all, "1 1001 9"},
		"own last":        {"1000 10", 1009, all, "1 1000 9"},
		"empty":           {"100000 0", 1000, all, ""},
		"negative":        {"-5 3", 1000, all, ""},
		"negative size":   {"100000 -3", 1000, all, ""},
		"beyond 32 bits":  {"4294967290 100", 1000, all, "1 4294967290 5"},
		"start too large": {"4294967296 100", 1000, all, ""},
		"huge":            {"100000 9223372036854775807", 1000, all, "1 100000 4294867295"},
		"in a container": {
			"100000 65536", 1000, []specs.LinuxIDMapping{{Size: 65536}}, "",
		},
		"partly in a container": {
			"60000 65536", 1000, []specs.LinuxIDMapping{{Size: 65536}}, "1 60000 5536",
		},
		"across two maps of a container": {
			"10 20", 1000, []specs.LinuxIDMapping{{Size: 20}, {ContainerID: 25, Size: 100}}, "1 10 10, 11 25 5",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var ranges []idtools.IDMap
			for _, r := range strings.Split(c.ranges, ", ") {
				var m idtools.IDMap
				if _, err := fmt.Sscan(r, &m.HostID, &m.Size); err != nil {
					t.Fatal(err)
				}
				ranges = append(ranges, m)
			}
			var got []string
			for _, m := range usable(ranges, c.own, c.have) {
				got = append(got, fmt.Sprint(m.ContainerID, m.HostID, m.Size))
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzUsable checks the rules by which the kernel takes a map: no ID on either side twice, none outside of the namespace.
func FuzzUsable(f *testing.F) {
	f.Add(100000, 65536, 165536, 65536, 1000)
	f.Add(-1, math.MaxInt, 5, 5, 7)
	f.Add(0, 10, 3, math.MaxInt, 4)
	f.Fuzz(func(t *testing.T, first1, size1, first2, size2, own int) {
		if first1 > first2 {
			first1, size1, first2, size2 = first2, size2, first1, size1
		}
		ranges := []idtools.IDMap{{HostID: first1, Size: size1}, {HostID: first2, Size: size2}}
		inside, outside := uint64(1), int64(-1)
		for _, m := range usable(ranges, own, []specs.LinuxIDMapping{{Size: math.MaxUint32}}) {
			first, end := int64(m.HostID), int64(m.HostID)+int64(m.Size)
			if uint64(m.ContainerID) != inside || m.Size == 0 || first <= outside || end > math.MaxUint32 {
				t.Errorf("%+v after %d inside and %d outside", m, inside, outside)
			}
			if first <= int64(own) && int64(own) < end {
				t.Errorf("%+v holds the caller's own %d", m, own)
			}
			inside += uint64(m.Size)
			outside = end - 1
		}
	})
}

func TestPlan(t *testing.T) {
	all := []specs.LinuxIDMapping{{Size: math.MaxUint32}}
	few := []specs.LinuxIDMapping{{HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}}
	if p := (caller{admin: true, uids: all, gids: all}).plan(); p.user {
		t.Errorf("root with CAP_SYS_ADMIN makes a user namespace: %+v", p)
	}
	p := caller{setIDs: true, uids: few, gids: few}.plan()
	if !p.user || !p.setgroups || p.helpers != nil || len(p.uids) != 2 || p.uids[1] != (specs.LinuxIDMapping{ContainerID: 1, HostID: 1, Size: 65536}) {
		t.Errorf("root of a plain container: %+v", p)
	}
	p = caller{uids: few, gids: few}.plan()
	if !p.user || p.setgroups || len(p.uids) != 1 || p.uids[0].Size != 1 || p.reason == "" || p.cure == "" {
		t.Errorf("root without capabilities: %+v", p)
	}
	// A user that no sub-ID file and no user database knows; where the helpers are missing that is the reason.
	p = caller{uid: 3999999, gid: 3999999, name: "3999999", uids: all, gids: all}.plan()
	if !p.user || p.helpers != nil || len(p.uids) != 1 || p.uids[0].HostID != 3999999 || p.reason == "" || p.cure == "" {
		t.Errorf("an ordinary user without sub-IDs: %+v", p)
	}
}

// What takes another machine, or would break this one for everybody, is tested with facts made up. The rest of the faults
// are made in testdata/faults.
//
// fault: namespaces-off-for-users, no-user-namespaces, apparmor, namespaces-refused, no-more-processes
// look-alike: namespaces-off-for-users, no-user-namespaces, apparmor, namespaces-refused, no-more-processes
func TestVerdict(t *testing.T) {
	const (
		perm   = syscall.EPERM
		access = syscall.EACCES
		none   = syscall.ENOSPC
	)
	for name, c := range map[string]struct {
		f         facts
		sysctls   string // "NAME=VALUE …"
		why, hint string
	}{
		"off":               {facts{user: none}, "user.max_user_namespaces=0", "turned off", "sysctl -w user.max"},
		"too many":          {facts{user: none}, "user.max_user_namespaces=10", "is 10", "raise the limit"},
		"too many mounts":   {facts{mounts: none}, "user.max_mnt_namespaces=3", "mount namespaces (user.max_mnt_namespaces is 3)", "raise"},
		"no such thing":     {facts{user: syscall.EINVAL}, "", "kernel has no user namespaces", "CONFIG_USER_NS"},
		"Debian's sysctl":   {facts{user: perm}, "kernel.unprivileged_userns_clone=0", "ordinary users", "unprivileged_userns_clone=1"},
		"chroot":            {facts{user: perm, chroot: true}, "", "chroot", "outside of the chroot"},
		"container":         {facts{user: perm, seccomp: true}, "", "seccomp", "--security-opt"},
		"container's root":  {facts{mounts: perm, root: true, seccomp: true}, "", "seccomp", "--security-opt"},
		"no CAP_SETFCAP":    {facts{mapped: perm, mounts: perm, root: true}, "", "CAP_SETFCAP", "ordinary user"},
		"Ubuntu, refused":   {facts{user: access, program: "/x/rlbuild"}, "kernel.apparmor_restrict_unprivileged_userns=1", "AppArmor", "profile rlbuild /x/rlbuild"},
		"Ubuntu, only late": {facts{}, "kernel.apparmor_restrict_unprivileged_userns=1", "AppArmor", "userns"},
		"unknown module":    {facts{user: access}, "", "something on this machine", "SELinux"},
		"unknown":           {facts{}, "", "", "unshare --user"},

		"Debian's sysctl, root":       {facts{user: perm, root: true}, "kernel.unprivileged_userns_clone=0", "something on this machine", "SELinux"},
		"Debian's sysctl, on":         {facts{user: perm}, "kernel.unprivileged_userns_clone=1", "something on this machine", "SELinux"},
		"only the mounts are invalid": {facts{mounts: syscall.EINVAL}, "", "", "unshare --user"},
		"Ubuntu, off":                 {facts{user: access}, "kernel.apparmor_restrict_unprivileged_userns=0", "something on this machine", "SELinux"},
		"Ubuntu, root":                {facts{mounts: perm, root: true}, "kernel.apparmor_restrict_unprivileged_userns=1", "something on this machine", "SELinux"},
		"Ubuntu, in a container":      {facts{user: perm, seccomp: true, filtered: true}, "kernel.apparmor_restrict_unprivileged_userns=1", "seccomp", "--security-opt"},
		"Ubuntu, some filter":         {facts{user: perm, seccomp: true}, "kernel.apparmor_restrict_unprivileged_userns=1", "AppArmor", "profile"},
		"no more processes":           {facts{user: syscall.EAGAIN, mounts: syscall.EAGAIN}, "kernel.apparmor_restrict_unprivileged_userns=1", "no more processes", "ulimit -u"},
		"no memory, on Ubuntu":        {facts{user: syscall.ENOMEM}, "kernel.apparmor_restrict_unprivileged_userns=1", "", "unshare --user"},
		"a filter and no refusal":     {facts{seccomp: true}, "", "", "unshare --user"},
	} {
		t.Run(name, func(t *testing.T) {
			c.f.sysctl = func(name string) string {
				for _, s := range strings.Fields(c.sysctls) {
					if n, value, _ := strings.Cut(s, "="); n == name {
						return value
					}
				}
				return ""
			}
			why, hint := c.f.verdict()
			if !strings.Contains(why, c.why) || (why == "") != (c.why == "") || !strings.Contains(hint, c.hint) {
				t.Errorf("got %q and %q, want %q and %q", why, hint, c.why, c.hint)
			}
		})
	}
}

func TestAddRangesNamesFreeOnes(t *testing.T) {
	cure := caller{name: "alice"}.addRanges()
	var first, last int
	if _, err := fmt.Sscanf(cure, "Run \"usermod --add-subuids %d-%d", &first, &last); err != nil {
		t.Fatalf("%q: %v", cure, err)
	}
	if last-first != 65535 || first < 100000 || !strings.Contains(cure, " alice\"") {
		t.Errorf("%q", cure)
	}
	all, err := idtools.NewIDMappings("ALL", "ALL")
	if err != nil {
		t.Skip(err)
	}
	for _, m := range append(all.UIDs(), all.GIDs()...) {
		if first < m.HostID+m.Size && m.HostID <= last {
			t.Errorf("%d-%d is taken in part: %+v", first, last, m)
		}
	}
}
