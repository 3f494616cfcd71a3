package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}

// samples makes a series of times in seconds.
func samples(seconds ...float64) []sample {
	var all []sample
	for _, one := range seconds {
		all = append(all, sample{Seconds: one, Peak: 50e6})
	}
	return all
}

// TestMedianRatio has a machine that gets slower: the ratio within each round is what counts.
func TestMedianRatio(t *testing.T) {
	if got := medianRatio(samples(1, 2, 8), samples(2, 4, 4)); got != 0.5 {
		t.Errorf("got %v, want 0.5", got)
	}
	if got := medianRatio(samples(1, 2), nil); got != 0 {
		t.Errorf("with nothing to compare to: got %v, want 0", got)
	}
}

func TestCompareGoals(t *testing.T) {
	for _, test := range []struct {
		goal goal
		met  bool
	}{
		{goal{ofPeer, 1. / 10}, true},
		{goal{ofPeer, 1. / 11}, false},
		{goal{ofFloor, 2}, true},
		{goal{ofFloor, 1.9}, false},
		{goal{ofTime, 2}, true},
		{goal{ofTime, 1.5}, false},
	} {
		r := result{goal: test.goal, Peer: series{Samples: samples(20, 20)}, Floor: series{Samples: samples(1, 1)},
			Ours: series{Samples: samples(2, 2)}}
		r.compare()
		if r.Met != test.met {
			t.Errorf("goal %v: met is %v, want %v", test.goal, r.Met, test.met)
		}
	}
	missing := result{goal: goal{ofPeer, 1}, Ours: series{Samples: samples(1)}}
	if missing.compare(); missing.Met {
		t.Error("a goal is met without a peer to compare to")
	}
	noise := result{goal: goal{ofTime, 1}, Ours: series{Samples: samples(-0.001)}}
	if noise.compare(); noise.Met {
		t.Error("a goal is met by a time below nothing, which is noise")
	}
}

func TestMarkdown(t *testing.T) {
	r := report{Rounds: 3, Notes: []string{"A note."}, Rows: []result{
		{Name: "quick", Work: "some work", Goal: "≤ 1/2 of buildah", goal: goal{ofPeer, 0.5},
			Peer: series{Samples: samples(0.1, 0.1, 0.1)}, Ours: series{Samples: samples(0.02, 0.025, 0.03)}},
		{Name: "large", Work: "more", Goal: "≤ 15 ms", goal: goal{ofTime, 0.015},
			Ours: series{Samples: []sample{{Seconds: 1.5, Peak: 300e6}}}},
		{Name: "broken", Work: "none", Goal: "≤ 2 × floor", goal: goal{ofFloor, 2}, Ours: series{Failed: "exit status 1: no"}},
	}}
	for i := range r.Rows {
		r.Rows[i].compare()
	}
	got := r.markdown()
	for _, want := range []string{
		"| quick | some work | 100 ms | – | 25.0 ms | 1/4.0 | – | ≤ 1/2 of buildah: met | 50 MB (50 MB) |\n",
		"| large | more | – | – | 1.50 s | – | – | ≤ 15 ms: **missed** | **300 MB** |\n",
		"| broken | none | – | – | failed | – | – | ≤ 2 × floor: **missed** | – |\n",
		"- broken, rlbuild: exit status 1: no\n",
		"Medians of 3 rounds", "A note.\n", "not in this run", "| one trivial run step | 51 ms | 40 ms |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]string{
		0.000_123: "0.12 ms", 0.0094: "9.40 ms", 0.0123: "12.3 ms", 0.123: "123 ms", 0.9994: "999 ms", 1.234: "1.23 s", -0.0001: "-0.10 ms",
	} {
		if got := duration(seconds); got != want {
			t.Errorf("duration(%v) = %q, want %q", seconds, got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	rows := []row{{name: "run"}, {name: "containers-1"}, {name: "containers-2"}, {name: "nginx", asked: true}}
	for _, test := range []struct{ names, want string }{
		{"", "run containers-1 containers-2"},
		{"nginx,run", "run nginx"},
		{"containers-*", "containers-1 containers-2"},
	} {
		chosen, err := choose(rows, test.names)
		var names []string
		for _, row := range chosen {
			names = append(names, row.name)
		}
		if got := strings.Join(names, " "); err != nil || got != test.want {
			t.Errorf("choose %q: got %q, %v, want %q", test.names, got, err, test.want)
		}
	}
	if _, err := choose(rows, "run commmit"); err == nil || !strings.Contains(err.Error(), `"commmit"`) {
		t.Errorf("a row that isn't there: got error %v", err)
	}
}

// fakes returns a bench whose two commands are others.
func fakes(t *testing.T, rlbuild, buildah string) *bench {
	t.Helper()
	return &bench{rlbuild: rlbuild, buildah: buildah, scripts: "../../testdata/bench", work: t.TempDir(), made: map[string]error{}}
}

// TestMeasureTurns holds the order: everybody once a round, another first each time, and the first round not counted.
func TestMeasureTurns(t *testing.T) {
	var order strings.Builder
	turn := func(name string) side {
		return func(_ context.Context, _ *bench, round int) (sample, error) {
			order.WriteString(name)
			return sample{Seconds: float64(round)}, nil
		}
	}
	r := fakes(t, "true", "true").measure(t.Context(), row{peer: turn("p"), floor: turn("f"), ours: turn("o")}, 3)
	if got, want := order.String(), "pfo"+"fop"+"opf"+"pfo"; got != want {
		t.Errorf("the order was %s, want %s", got, want)
	}
	if len(r.Ours.Samples) != 3 || r.Ours.Median != 2 {
		t.Errorf("got %d samples with median %v, want 3 with 2", len(r.Ours.Samples), r.Ours.Median)
	}
}

// TestMeasureFails has a side that fails: it is left out and named, and the others go on.
func TestMeasureFails(t *testing.T) {
	calls := 0
	failing := func(ctx context.Context, b *bench, round int) (sample, error) {
		calls++
		return wall("sh", "-c", "echo one >&2; echo two >&2; exit 3")(ctx, b, round)
	}
	r := fakes(t, "true", "true").measure(t.Context(), row{peer: wall("$buildah"), ours: failing}, 2)
	if want := "exit status 3: one; two"; !strings.HasSuffix(r.Ours.Failed, want) || len(r.Ours.Samples) != 0 {
		t.Errorf("got %+v, want a failure that ends with %q", r.Ours, want)
	}
	if len(r.Peer.Samples) != 2 || calls != 1 || r.Met {
		t.Errorf("got %d samples of the peer, %d calls of what fails and met %v", len(r.Peer.Samples), calls, r.Met)
	}
}

func TestReported(t *testing.T) {
	b := fakes(t, "true", "true")
	got, err := reported(4, "sh", "-c", "echo starting; echo 8000000")(t.Context(), b, 1)
	if err != nil || got.Seconds != 2 || got.Peak == 0 {
		t.Errorf("got %+v, %v, want 2 seconds and some memory", got, err)
	}
	if _, err := reported(1, "echo", "nothing")(t.Context(), b, 1); err == nil {
		t.Error("output without microseconds is no error")
	}
}

// TestTableNames runs every row's sides, with commands that do nothing and floors that find no files, so that each $NAME
// is one that bench knows, and finds each script that they name.
func TestTableNames(t *testing.T) {
	b := fakes(t, "true", "true")
	for _, row := range table {
		for _, side := range []side{row.peer, row.floor, row.ours} {
			if side != nil {
				side(t.Context(), b, 1) // only a name that is not known matters, and panics
			}
		}
	}
	scripts := strings.Join([]string{textOf("rows.go"), textOf("side.go"), textOf("bench.go")}, "")
	for _, entry := range strings.Split(scripts, "$scripts/")[1:] {
		name, _, _ := strings.Cut(entry, `"`)
		if _, err := os.Stat(filepath.Join(b.scripts, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestWriteTree holds the tree to its size and number, and to the same bytes each time.
func TestWriteTree(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	var all [2]string
	for i, dir := range dirs {
		files, total := 0, 0
		if err := writeTree(dir, 40, 2_000_000); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(name)
			files, total = files+1, total+len(data)
			all[i] += string(data)
			return err
		})
		if err != nil || files != 48 || total != 2_000_000 {
			t.Errorf("%d files of %d bytes, %v, want 48 of 2000000", files, total, err)
		}
	}
	if all[0] != all[1] {
		t.Error("two trees differ")
	}
}
