package main

import (
	"context"
	"slices"
	"syscall"
)

// measure runs a row's sides in turns, as a rule one round to warm up and then the timed ones, and never fails itself: a side that
// does is left out from then on, and the result says why.
func (b *bench) measure(ctx context.Context, row row, rounds int) result {
	r := result{Name: row.name, Work: row.work, Goal: row.goal.String(), goal: row.goal}
	for _, resource := range row.needs {
		if err := b.need(ctx, resource); err != nil {
			r.Ours.Failed = err.Error()
			return r
		}
	}
	turns := []struct {
		side side
		into *series
	}{{row.peer, &r.Peer}, {row.floor, &r.Floor}, {row.ours, &r.Ours}}
	first := 0
	if row.long {
		first = 1
	}
	for round := first; round <= rounds; round++ {
		for i := range turns {
			turn := turns[(i+round)%len(turns)]
			if turn.side == nil || turn.into.Failed != "" {
				continue
			}
			syscall.Sync() // what one side left for the disk to do must not slow the next one down
			spent, err := turn.side(ctx, b, round)
			switch {
			case err != nil:
				turn.into.Failed, turn.into.Samples = err.Error(), nil
			case round > 0:
				turn.into.Samples = append(turn.into.Samples, spent)
			}
		}
	}
	r.compare()
	return r
}

// median returns the middle value, the mean of the two middle ones of an even number, and 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// medianRatio returns the median of the rounds' ratios, since within a round a machine's speed has had the least time to
// change; 0 if a side has no samples.
func medianRatio(ours, theirs []sample) float64 {
	var ratios []float64
	for i := range min(len(ours), len(theirs)) {
		ratios = append(ratios, ours[i].Seconds/theirs[i].Seconds)
	}
	return median(ratios)
}
