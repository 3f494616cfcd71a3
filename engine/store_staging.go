package engine

import (
	"os"
	"path/filepath"

	graphdriver "go.podman.io/storage/drivers"
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
	dir, err := os.MkdirTemp(filepath.Dir(s.changes.Dir), "rlbuild-layer-")
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
