package engine

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// FuzzSettings gives the texts that options of containers and steps parse any content. What is taken means something the kernel and
// the image can hold; the rest is an error.
func FuzzSettings(f *testing.F) {
	for _, text := range []string{
		"nofile=1024:2048", "core=-1", "0:100000:65536", "0:1:1,1:100000:4294967295", `sh -c "a b" 'c'`, "CMD curl -f http://x", "CMD-SHELL exit 1", "NONE x",
		"uid=1000,gid=1000", `back\`, "a;b", "", "1:2:3:4", "cpu=1:0",
	} {
		f.Add(text, uint32(1000), uint32(65536))
	}
	f.Fuzz(func(t *testing.T, text string, id, count uint32) {
		if limits, err := parseLimits([]string{text}); err == nil {
			for _, l := range limits {
				if l.Soft > l.Hard {
					t.Errorf("limit %q: soft %d over hard %d", text, l.Soft, l.Hard)
				}
			}
		}
		if maps, err := appendMap(nil, "userns_uid_map", []string{text}); err == nil && len(maps) == 0 {
			t.Errorf("map %q is none", text)
		}
		if argv, err := healthTest(text); err == nil && len(argv) > 0 && !slices.Contains([]string{"CMD", "CMD-SHELL", "NONE"}, argv[0]) {
			t.Errorf("health check %q is %q", text, argv)
		}
		if words, err := splitWords(text); err == nil {
			var back []string
			if line := jsonList(words); json.Unmarshal([]byte(line), &back) != nil || len(back) != len(words) {
				t.Errorf("%q: words %q, as JSON %s", text, words, line)
			}
		}
		if count == 0 || id >= math.MaxInt32 {
			return // keepID parses 31 bits, and there is always one ID
		}
		inside := uint64(0)
		maps := keep(id, count)
		slices.SortFunc(maps, func(a, b specs.LinuxIDMapping) int { return int(int64(a.ContainerID) - int64(b.ContainerID)) })
		outside := map[uint64]bool{}
		for _, m := range maps {
			if uint64(m.ContainerID) < inside || m.Size == 0 || uint64(m.HostID)+uint64(m.Size) > uint64(count) || outside[uint64(m.HostID)] {
				t.Errorf("keep(%d, %d) = %+v", id, count, maps)
			}
			inside = uint64(m.ContainerID) + uint64(m.Size)
			outside[uint64(m.HostID)] = true
		}
	})
}

// FuzzInstructions finds the instructions of any Containerfile that the library's parser takes, each where it says.
func FuzzInstructions(f *testing.F) {
	for _, text := range []string{
		"FROM scratch\nRUN a \\\n b\nCOPY --chown=1:2 a b\n", "# escape=`\nFROM a AS b\nONBUILD COPY --from=b x /y\nRUN <<E\nx\nE\n",
		"FROM a\nONBUILD\n", "ENV a=b c\nLABEL \"x\"='y'\nCMD [\"a\",]\n", "FROM scratch\nHEALTHCHECK --interval=1s CMD x\nSHELL [\"a\"]\n",
	} {
		f.Add([]byte(text))
	}
	file := filepath.Join(place(f), "Containerfile")
	f.Fuzz(func(t *testing.T, text []byte) {
		check(t, os.WriteFile(file, text, 0o600))
		b := &build{containerfiles: []string{file}}
		nodes, ok := instructions(file)
		if n := b.stages(); !ok && n != 0 || n > len(nodes) {
			t.Errorf("%d stages of %d instructions", n, len(nodes))
		}
		for _, node := range nodes[:min(len(nodes), 20)] { // each is looked for among all
			line := strconv.Itoa(node.StartLine)
			if at := b.position(instruction(node)); !slices.Contains(strings.Split(at, " or "), line) {
				t.Errorf("%q is in line %s, not in %q", instruction(node), line, at)
			}
		}
	})
}
