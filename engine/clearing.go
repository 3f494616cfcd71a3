package engine

import (
	"time"

	"github.com/rlbuild/rlbuild/engine/output"
)

// silentFor is how long clearing up may take before the user is told what is waited for.
const silentFor = 5 * time.Second

// clearing is the deletion of several containers, whose files can be many.
type clearing struct {
	display *output.Display
	silent  time.Time // since then nothing was said
}

func (b *Builder) clearing() *clearing {
	return &clearing{display: b.options.Display, silent: time.Now()}
}

// delete deletes a container by do. It is named if the user has been told nothing for a while when it isn't gone yet.
func (c *clearing) delete(name string, do func() error) error {
	said := make(chan struct{})
	timer := time.AfterFunc(time.Until(c.silent.Add(silentFor)), func() {
		defer close(said)
		c.display.Line("rlbuild: cleaning up: deleting container " + name)
	})
	err := do()
	if !timer.Stop() {
		<-said // nothing comes behind what is said of the run's end
		c.silent = time.Now()
	}
	return err
}
