package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// side is one way to do a row's work: each call does it once and says what that came to.
type side func(ctx context.Context, b *bench, round int) (sample, error)

// sample is what one call of a side came to.
type sample struct {
	Seconds float64 `json:"seconds"`
	// Peak is the largest resident size of one of its processes, in bytes.
	Peak int64 `json:"peak_bytes"`
}

// wall is a command's time from start to end.
func wall(argv ...string) side {
	return func(ctx context.Context, b *bench, round int) (sample, error) {
		spent, _, err := b.command(ctx, map[string]string{"round": strconv.Itoa(round)}, argv...)
		return spent, err
	}
}

// reported is the time of one of n things that a command did, which it measured itself: its last line of output is
// their microseconds.
func reported(n int, argv ...string) side {
	return func(ctx context.Context, b *bench, round int) (sample, error) {
		names := map[string]string{"round": strconv.Itoa(round), "n": strconv.Itoa(n)}
		spent, output, err := b.command(ctx, names, argv...)
		if err != nil {
			return sample{}, err
		}
		spent.Seconds, err = lastMicroseconds(output)
		spent.Seconds /= float64(n)
		return spent, err
	}
}

// perVerb is the time of one verb in a script that does n of them, the script's start and end taken off.
func perVerb(n int, verb string) side {
	script := func(n int) side {
		return wall("$rlbuild", "$scripts/verbs.star", "verb="+verb, "n="+strconv.Itoa(n))
	}
	return func(ctx context.Context, b *bench, round int) (sample, error) {
		without, err := script(0)(ctx, b, round)
		if err != nil {
			return sample{}, err
		}
		with, err := script(n)(ctx, b, round)
		with.Seconds = (with.Seconds - without.Seconds) / float64(n)
		return with, err
	}
}

// mean is a side's mean over several calls, for what a single one can't tell from noise.
func mean(calls int, s side) side {
	return func(ctx context.Context, b *bench, round int) (total sample, err error) {
		for range calls {
			one, err := s(ctx, b, round)
			if err != nil {
				return sample{}, err
			}
			total.Seconds += one.Seconds / float64(calls)
			total.Peak = max(total.Peak, one.Peak)
		}
		return total, nil
	}
}

// forgetful is a side that has no cache of which blobs were seen in which registry.
func forgetful(s side) side {
	return func(ctx context.Context, b *bench, round int) (sample, error) {
		if err := os.RemoveAll(b.work + "/data/containers/cache"); err != nil {
			return sample{}, err
		}
		return s(ctx, b, round)
	}
}

// commitBy is the time of one commit of the large tree by "peer" or "ours", the filling of the container not counted.
// In dest, $side is who.
func commitBy(who, dest, compression string) side {
	return func(ctx context.Context, b *bench, round int) (sample, error) {
		dest := os.Expand(dest, func(name string) string {
			if name == "side" {
				return who
			}
			return "$" + name
		})
		// A layer that the store or the registry has already would not be written again.
		token := who + " " + dest + " $round"
		argv := []string{"$rlbuild", "$scripts/commit.star", "tree=$tree", "token=" + token, "dest=" + dest, "compression=" + compression}
		if who == "peer" {
			argv = []string{"$buildah", "unshare", "$scripts/commit.sh", "$tree", token, dest, compression}
		}
		spent, err := reported(1, argv...)(ctx, b, round)
		os.Remove(b.work + "/" + who + ".tar") // only the archives' rows make one
		return spent, err
	}
}

// command runs argv, with $NAME replaced by what names or bench.value know, and returns its time, its peak and its output.
// The error of a command that fails ends with what it said last.
func (b *bench) command(ctx context.Context, names map[string]string, argv ...string) (sample, string, error) {
	expanded := make([]string, len(argv))
	for i, arg := range argv {
		expanded[i] = os.Expand(arg, func(name string) string {
			if value, ok := names[name]; ok {
				return value
			}
			return b.value(name)
		})
	}
	cmd := exec.CommandContext(ctx, expanded[0], expanded[1:]...)
	// An interrupt gives the command time to release its mounts.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Env = b.environ()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	spent := sample{Seconds: time.Since(begin).Seconds()}
	if err != nil {
		return sample{}, "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, lastLines(stderr.String(), 4))
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		spent.Peak = usage.Maxrss * 1024
	}
	return spent, stdout.String(), nil
}

// lastMicroseconds returns, in seconds, the number that is the last line of a command's output.
func lastMicroseconds(output string) (float64, error) {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	microseconds, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the command's last line should be microseconds: %w", err)
	}
	return float64(microseconds) / 1e6, nil
}

// lastLines returns the last few lines of a text, as one line.
func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "; ")
}
