package store

import (
	"os"
	"path/filepath"
	"testing"

	"go.podman.io/storage"
)

// TestForeign looks at files of the ID that stands for those without one, here the ID of files of this process's own.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	search := foreignSearch{overflow: [2]int{os.Getuid(), os.Getgid()}}
	id := uint32(os.Getuid())
	for _, test := range []struct {
		name  string
		layer storage.Layer
		want  bool
	}{
		{"the layer's IDs aren't known, and the file is open to its owner", storage.Layer{}, false},
		{"the layer has files of that ID", storage.Layer{UIDs: []uint32{id}, GIDs: []uint32{uint32(os.Getgid())}}, false},
		{"it has none", storage.Layer{UIDs: []uint32{id + 1}, GIDs: []uint32{uint32(os.Getgid())}}, true},
	} {
		if got := search.foreign(file, &test.layer); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	other := foreignSearch{overflow: [2]int{65534, 65534}}
	if other.foreign(file, &storage.Layer{UIDs: []uint32{7}}) {
		t.Error("a file of a mapped owner counts as one that isn't")
	}
}

func TestOnlyRoot(t *testing.T) {
	for _, test := range []struct {
		ids  []uint32
		want bool
	}{{nil, false}, {[]uint32{0}, true}, {[]uint32{0, 33}, false}} {
		if got := onlyRoot(test.ids); got != test.want {
			t.Errorf("onlyRoot(%v) = %v", test.ids, got)
		}
	}
}
