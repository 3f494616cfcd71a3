package store

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrLayerLost is found in the error of PutLayer when another process seems to have removed the temporary directory that the
// layer was unpacked in: made once more it is whole. The library makes the lock of such a directory and takes it in two steps, and
// a process that looks for what dead ones left between them, as each does that uses the store, takes the living one for dead
// (CreateAndLock and RecoverStaleDirs of storage 1.64; podman's issue 29641).
var ErrLayerLost = errors.New("another process may have removed the layer's temporary directory")

// whereNothingIs is how unpacking fails in a directory that is gone. What fails to link may miss a file that the layer should
// have brought along.
var whereNothingIs = regexp.MustCompile(`unpacking failed \(error: .*; output: (\w+) .*: no such file or directory\)`)

// orLost adds ErrLayerLost to an error that looks like it.
func orLost(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	lost := strings.Contains(text, "/temp-dir-") && strings.Contains(text, "no such file or directory")
	if unpacking := whereNothingIs.FindStringSubmatch(text); unpacking != nil {
		lost = unpacking[1] != "link"
	}
	if !lost {
		return err
	}
	return fmt.Errorf("%w (%w)", err, ErrLayerLost)
}
