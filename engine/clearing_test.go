package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/rlbuild/rlbuild/engine/output"
)

// shown sends what a display shows.
type shown chan string

func (s shown) Write(text []byte) (int, error) {
	s <- string(text)
	return len(text), nil
}

// A container is named while its deletion goes on, one that is quickly gone after it isn't.
func TestClearingSaysWhatItWaitsFor(t *testing.T) {
	lines, broken := make(shown, 2), errors.New("broken")
	c := &clearing{display: output.New(lines), silent: time.Now().Add(-silentFor)}
	err := c.delete("large", func() error {
		if line := <-lines; line != "rlbuild: cleaning up: deleting container large\n" {
			t.Errorf("said %q", line)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	c.silent = time.Now().Add(time.Hour)
	if err := c.delete("small", func() error { return nil }); err != nil {
		t.Error(err)
	}
	if len(lines) > 0 {
		t.Errorf("said %q", <-lines)
	}
}
