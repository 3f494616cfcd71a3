package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
)

// report is everything that was measured, as it is written to the JSON file. Times are in seconds.
type report struct {
	Machine machine  `json:"machine"`
	Rounds  int      `json:"rounds"`
	Notes   []string `json:"notes,omitempty"`
	Rows    []result `json:"rows"`
}

// result is what a row came to.
type result struct {
	Name  string `json:"name"`
	Work  string `json:"work"`
	Peer  series `json:"buildah"`
	Floor series `json:"floor"`
	Ours  series `json:"rlbuild"`
	// ToPeer and ToFloor are the medians of the rounds' ratios; 0 where there is none.
	ToPeer  float64 `json:"ratio_to_buildah,omitempty"`
	ToFloor float64 `json:"ratio_to_floor,omitempty"`
	Goal    string  `json:"goal"`
	Met     bool    `json:"met"`
	// MemoryMet says whether rlbuild stayed below memoryGoal.
	MemoryMet bool `json:"memory_met"`
	goal      goal
}

// series is what the rounds of one side came to.
type series struct {
	Samples []sample `json:"samples,omitempty"`
	Median  float64  `json:"median_seconds,omitempty"`
	Peak    int64    `json:"peak_bytes,omitempty"` // the largest of the samples
	Failed  string   `json:"failed,omitempty"`     // what went wrong; there are no samples then
}

// goal is what the issue asks of a row.
type goal struct {
	of    measure
	limit float64
}

// measure is what a goal limits.
type measure int

const (
	nothing measure = iota
	ofPeer          // the ratio to the peer
	ofFloor         // the ratio to the floor
	ofTime          // rlbuild's median, in seconds
)

// memoryGoal is what no process of rlbuild may exceed, whatever the size of a layer.
const memoryGoal = 120_000_000

func (g goal) String() string {
	switch g.of {
	case ofPeer:
		return fmt.Sprintf("≤ 1/%.0f of buildah", 1/g.limit)
	case ofFloor:
		return fmt.Sprintf("≤ %g × floor", g.limit)
	case ofTime:
		return "≤ " + duration(g.limit)
	default:
		return "–"
	}
}

// compare fills in what follows from the samples.
func (r *result) compare() {
	for _, s := range []*series{&r.Peer, &r.Floor, &r.Ours} {
		seconds := make([]float64, len(s.Samples))
		for i, one := range s.Samples {
			seconds[i] = one.Seconds
			s.Peak = max(s.Peak, one.Peak)
		}
		s.Median = median(seconds)
	}
	r.ToPeer = medianRatio(r.Ours.Samples, r.Peer.Samples)
	r.ToFloor = medianRatio(r.Ours.Samples, r.Floor.Samples)
	reached := map[measure]float64{ofPeer: r.ToPeer, ofFloor: r.ToFloor, ofTime: r.Ours.Median}[r.goal.of]
	r.Met = reached > 0 && reached <= r.goal.limit
	r.MemoryMet = r.Ours.Peak != 0 && r.Ours.Peak <= memoryGoal
}

// markdown returns the table, what failed, the machine and the quoted figures.
func (r report) markdown() string {
	var out, failed strings.Builder
	out.WriteString("| row | work | buildah | floor | rlbuild | of buildah | of the floor | goal | peak memory (buildah's) |\n")
	out.WriteString("|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", row.Name, row.Work, row.Peer, row.Floor, row.Ours,
			ratio(row.ToPeer), ratio(row.ToFloor), row.verdict(), row.memory())
		for side, s := range map[string]series{"buildah": row.Peer, "the floor": row.Floor, "rlbuild": row.Ours} {
			if s.Failed != "" {
				fmt.Fprintf(&failed, "- %s, %s: %s\n", row.Name, side, s.Failed)
			}
		}
	}
	fmt.Fprintf(&out, "\n%s\n", r.Machine)
	fmt.Fprintf(&out, "Medians of %d rounds, of the rounds' ratios too; the memory is that of the largest process, and the "+
		"goal for it %s in every row.\n", r.Rounds, megabytes(memoryGoal))
	for _, note := range r.Notes {
		fmt.Fprintf(&out, "%s\n", note)
	}
	if failed.Len() > 0 {
		fmt.Fprintf(&out, "\nFailed:\n\n%s", failed.String())
	}
	return out.String() + "\n" + quotedTable()
}

// String is a series' cell in the table.
func (s series) String() string {
	switch {
	case s.Failed != "":
		return "failed"
	case len(s.Samples) == 0:
		return "–"
	default:
		return duration(s.Median)
	}
}

// verdict is the goal and whether it was met.
func (r result) verdict() string {
	switch {
	case r.goal.of == nothing:
		return "–"
	case r.Met:
		return r.Goal + ": met"
	default:
		return r.Goal + ": **missed**"
	}
}

// memory is rlbuild's peak beside the peer's.
func (r result) memory() string {
	if r.Ours.Peak == 0 {
		return "–"
	}
	text := megabytes(r.Ours.Peak)
	if !r.MemoryMet {
		text = "**" + text + "**"
	}
	if r.Peer.Peak != 0 {
		text += " (" + megabytes(r.Peer.Peak) + ")"
	}
	return text
}

// writeJSON writes the report to a file.
func (r report) writeJSON(name string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}

// duration shows seconds with three digits or so, in the unit that fits.
func duration(seconds float64) string {
	switch {
	case math.Abs(seconds) < 0.00995:
		return fmt.Sprintf("%.2f ms", seconds*1e3)
	case math.Abs(seconds) < 0.0995:
		return fmt.Sprintf("%.1f ms", seconds*1e3)
	case seconds < 0.9995:
		return fmt.Sprintf("%.0f ms", seconds*1e3)
	default:
		return fmt.Sprintf("%.2f s", seconds)
	}
}

// ratio shows small ratios as fractions of one, as the goals are given; a dash where there is none.
func ratio(value float64) string {
	switch {
	case value == 0:
		return "–"
	case value > 0 && value < 0.5:
		return fmt.Sprintf("1/%.1f", 1/value)
	default:
		return fmt.Sprintf("%.2f", value)
	}
}

func megabytes(bytes int64) string {
	return fmt.Sprintf("%.0f MB", float64(bytes)/1e6)
}
