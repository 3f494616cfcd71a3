package engine

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/buildah"

	"github.com/rlbuild/rlbuild/engine/diagnose"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// What an image says of itself is shown, and not obeyed by the user's terminal.
func TestFactsAreShown(t *testing.T) {
	k := &cause{trouble.NoInterpreter, trouble.Facts{"command": "/x", "place": diagnose.Container, "interpreter": "/opt/\x1b[2Jpython\n"}}
	want := "run /x: failed: the container has /x, but not /opt/python·, which its first line names"
	if got := k.because(failure.New("run", "/x", "failed")).Error(); got != want {
		t.Errorf("got %q", got)
	}
}

// Whom a step's user is outside of its user namespace says nothing of him inside.
func TestOwnerOutside(t *testing.T) {
	c := &Container{builder: &buildah.Builder{}}
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 100}, {ContainerID: 1000, HostID: 5000, Size: 100}}
	c.builder.IDMappingOptions.UIDMap, c.builder.IDMappingOptions.GIDMap = ids, ids
	inside := sandbox.User{UID: 1, GID: 2, Groups: []uint32{3, 4}}
	for range 2 {
		got := c.ownerOutside(inside)
		if got.UID != 1001 || got.GID != 1002 || !slices.Equal(got.Groups, []uint32{1003, 1004}) {
			t.Errorf("outside: %+v", got)
		}
	}
	if !slices.Equal(inside.Groups, []uint32{3, 4}) {
		t.Errorf("inside: %+v", inside)
	}
}
