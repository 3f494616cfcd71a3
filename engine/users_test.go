package engine

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestInExtents(t *testing.T) {
	line := func(container, host, size uint32) specs.LinuxIDMapping {
		return specs.LinuxIDMapping{ContainerID: container, HostID: host, Size: size}
	}
	// The user and two ranges of sub-IDs; beyond the last of them, nothing is mapped.
	have := []specs.LinuxIDMapping{line(0, 1000, 1), line(1, 100000, 500), line(501, 300000, 500)}
	for _, c := range []struct{ maps, want []specs.LinuxIDMapping }{
		{nil, nil},
		{[]specs.LinuxIDMapping{line(7, 0, 1)}, []specs.LinuxIDMapping{line(7, 0, 1)}},
		{[]specs.LinuxIDMapping{line(0, 1, 500)}, []specs.LinuxIDMapping{line(0, 1, 500)}},
		{[]specs.LinuxIDMapping{line(10, 0, 1001)}, []specs.LinuxIDMapping{line(10, 0, 1), line(11, 1, 500), line(511, 501, 500)}},
		{[]specs.LinuxIDMapping{line(0, 500, 2), line(5, 3, 4)}, []specs.LinuxIDMapping{line(0, 500, 1), line(1, 501, 1), line(5, 3, 4)}},
		{[]specs.LinuxIDMapping{line(0, 1000, 10)}, []specs.LinuxIDMapping{line(0, 1000, 1), line(1, 1001, 9)}},
		{[]specs.LinuxIDMapping{line(0, 1, 0)}, []specs.LinuxIDMapping{line(0, 1, 0)}},
	} {
		if got := inExtents(c.maps, have); !slices.Equal(got, c.want) {
			t.Errorf("inExtents(%v) = %v, want %v", c.maps, got, c.want)
		}
	}
}
