package engine

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// slowDisplay takes longer for each write than the output of an ended command is waited for.
type slowDisplay struct{ shown []byte }

func (d *slowDisplay) Write(p []byte) (int, error) {
	time.Sleep(outputGrace * 6 / 5)
	d.shown = append(d.shown, p...)
	return len(p), nil
}

// TestSlowDisplay has all that was printed arrive, though something that goes on holds the output open.
func TestSlowDisplay(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	text := bytes.Repeat([]byte("0123456789"), 6000) // more than io.Copy reads at once, and less than the pipe holds
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	var display slowDisplay
	var s streams
	// It was printed while the display took what came before, and the command has ended since.
	if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	s.read(r, &display)
	s.readers.Wait()
	r.Close()
	if !bytes.Equal(display.shown, text) {
		t.Errorf("%d bytes arrived of %d", len(display.shown), len(text))
	}
}
