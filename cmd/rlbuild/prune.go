package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootless"
)

func pruneCommand(std streams, f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "Take away what killed runs have left",
		Long: `prune takes away what runs that were killed have left of themselves: processes, working containers, mounts, temporary
files. Every run does the same when it starts, so prune is for those who don't want to wait for the next one. Containers whose run
can't be asked any more, because the run root was lost in a power cut, are found by the first run after that, and by prune.

Runs that live, kept containers, images, and what podman and buildah have are left alone. What is gone is printed, a line each, and
what is still there, with the reason, goes to standard error. The exit status is 1 if something could not be taken away.`,
		Example: `  rlbuild prune
  rlbuild --root /srv/store --runroot /run/store prune`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error {
			namespace, err := rootless.Enter(rootless.Options{Note: f.note(std)})
			if err != nil {
				return err
			}
			return f.prune(std, namespace.SingleID)
		},
	}
}

// prune reclaims, and says what it did.
func (f *flags) prune(std streams, singleID bool) (err error) {
	s, err := f.openStore(context.Background(), std, singleID)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, s.Close()) }()
	found, err := engine.Reclaim(context.Background(), s, true)
	if err != nil {
		return err
	}
	for _, gone := range found.Gone {
		fmt.Fprintln(plain{std.out}, strings.TrimSpace(gone.Kind+" "+gone.Name))
	}
	for _, waiting := range found.Wait {
		f.note(std)("not yet: " + waiting)
	}
	if len(found.Left) > 0 {
		return failure.New("prune", "", "still there: %s", strings.Join(found.Left, "; "))
	}
	return nil
}
