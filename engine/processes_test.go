package engine

import (
	"context"
	"os"
	"os/exec"
	"testing"
)

// What ends an interrupted step's processes leaves those of the next one alone.
func TestNextStepIsNotKilled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	finished := killWhenCancelled(ctx, descendants(os.Getpid()))
	step := exec.Command("sleep", "600")
	if err := step.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := step.Wait(); err == nil {
		t.Error("the step wasn't killed")
	}
	finished()
	if err := exec.Command("sleep", "0.2").Run(); err != nil {
		t.Errorf("the next step: %v", err)
	}
}
