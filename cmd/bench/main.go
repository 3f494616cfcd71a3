// Command bench measures rlbuild beside its peer and the floor, in turns: for each row of a literal table it runs the same
// work by buildah, by the least that could do it, and by rlbuild, rotating who goes first, and compares within a round,
// since a machine's speed drifts from round to round. It only runs commands, so that it measures what a user gets.
//
// Peak memory is the largest resident size of a single process of a command, as the kernel accounts it to whoever waits
// for the command (ru_maxrss of wait4, which takes in all waited-for descendants).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/klauspost/pgzip"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run measures what the command line asks for, and leaves nothing but the two reports.
func run(ctx context.Context) (err error) {
	rlbuild := flag.String("rlbuild", "bin/rlbuild", "`command` to measure")
	buildah := flag.String("buildah", "bin/buildah", "`command` that is its peer")
	scripts := flag.String("scripts", "testdata/bench", "`directory` of the rows' scripts")
	names := flag.String("rows", "", "`names` or patterns of rows, separated by spaces or commas; all but those that take longest")
	rounds := flag.Int("rounds", 5, "timed `rounds`, after one that warms up")
	output := flag.String("json", "bin/bench.json", "`file` that takes every sample")
	disk := flag.String("disk", "", "`words` about the file system, if more is known than its type")
	gzip := flag.Bool("gzip", false, "only compress standard input: the floor of rows that make gzip")
	flag.Parse()
	if *gzip {
		return compress(os.Stdin, os.Stdout)
	}
	if flag.NArg() > 0 || *rounds < 1 {
		return fmt.Errorf("unexpected arguments %q, or fewer than one round", flag.Args())
	}
	chosen, err := choose(table, *names)
	if err != nil {
		return err
	}
	b, err := newBench(*rlbuild, *buildah, *scripts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	r := report{Rounds: *rounds, Machine: b.machine(ctx, *disk)}
	for _, row := range chosen {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", row.name)
		r.Rows = append(r.Rows, b.measure(ctx, row, *rounds))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.Notes = b.notes
	if err := r.writeJSON(*output); err != nil {
		return err
	}
	_, err = fmt.Print(r.markdown())
	return err
}

// choose returns the rows whose names match one of the patterns, in the table's order; without patterns, those that need not be asked for.
func choose(rows []row, names string) ([]row, error) {
	patterns := strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' })
	used := make([]bool, len(patterns))
	var chosen []row
	for _, row := range rows {
		wanted := len(patterns) == 0 && !row.asked
		for i, pattern := range patterns {
			matched, err := filepath.Match(pattern, row.name)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", pattern, err)
			}
			wanted = wanted || matched
			used[i] = used[i] || matched
		}
		if wanted {
			chosen = append(chosen, row)
		}
	}
	for i, pattern := range patterns {
		if !used[i] {
			return nil, fmt.Errorf("no row is named %q", pattern)
		}
	}
	return chosen, nil
}

// compress writes what it reads as gzip, at the library's default level and on all cores.
func compress(from io.Reader, to io.Writer) error {
	writer := pgzip.NewWriter(to)
	if _, err := io.Copy(writer, from); err != nil {
		return err
	}
	return writer.Close()
}

// cores is how many threads the floor's compressors get: as many as Go's programs take.
var cores = runtime.NumCPU()
