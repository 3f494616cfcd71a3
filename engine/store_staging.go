package engine

import (
	"crypto/rand"
	"os"
	"path/filepath"

	graphdriver "go.podman.io/storage/drivers"

	"github.com/rlbuild/rlbuild/engine/journal"
)

// stage makes the layer's files in an empty directory from where storage takes them over by renaming it. The returned function
// removes what is left of that, also after an error.
//
// It isn't one of storage's own directories for this: each command of podman 4 deletes all of those when it ends, whoever
// is at work there, and storage's later versions those that another process has only just made. The container's directory
// is on the same file system and nobody else's, and what a killed run leaves in it is deleted with the container.
func (c *Container) stage(s *staging) (output *graphdriver.DriverWithDifferOutput, clean func() error, err error) {
	store := c.run.options.Store
	if store.ImageStore() != "" { // the container is kept elsewhere
		output, err = store.PrepareStagedLayer(&graphdriver.ApplyDiffWithDifferOpts{}, s)
		clean = func() error { return nil }
		if output != nil && output.Target != "" {
			clean = func() error { return store.CleanupStagedLayer(output) }
		}
		return output, clean, err
	}
	dir := filepath.Join(filepath.Dir(s.changes.Dir), "rlbuild-layer-"+c.run.options.Journal.ID()+rand.Text()[:8])
	// A container that doesn't go with the run would keep what is left there by a kill.
	err = c.run.options.Journal.Note(journal.Temporary, dir)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return nil, func() error { return nil }, err
	}
	output = &graphdriver.DriverWithDifferOutput{}
	clean = func() error {
		if output.TarSplit != nil {
			output.TarSplit.Close()
		}
		return os.RemoveAll(dir)
	}
	target := filepath.Join(dir, "dir")
	if err := os.Mkdir(target, 0o700); err != nil {
		return output, clean, err
	}
	*output, err = s.ApplyDiff(target, nil, &graphdriver.DifferOptions{Format: graphdriver.DifferOutputFormatDir, StagingDirectory: dir})
	output.Target = target
	return output, clean, err
}
