package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCgroupMemory holds that the least of what all cgroups allow is found, of both versions.
func TestCgroupMemory(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/memory.max": "3000\n", "a/b/memory.max": "max\n",
		"memory/x/memory.limit_in_bytes": "2000\n", "memory/memory.limit_in_bytes": "9223372036854771712\n",
	} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for own, want := range map[string]uint64{
		"0::/a/b\n":                      3000,
		"5:cpu:/\n4:memory:/x/y\n0::/\n": 2000,
		"4:hugetlb,memory:/x\n0::/a/b\n": 2000,
		"4:memory:/\n0::/a\n":            3000,
		"":                               1<<64 - 1,
		"nonsense":                       1<<64 - 1,
	} {
		if got := cgroupMemory(root, own); got != want {
			t.Errorf("%q: got %d, want %d", own, got, want)
		}
	}
}
