package store

import (
	"errors"
	"testing"
)

func TestOrLost(t *testing.T) {
	for text, lost := range map[string]bool{
		"unpacking failed (error: exit status 1; output: mkdir /bin: no such file or directory)":                         true,
		"unpacking failed (error: exit status 1; output: link /a /b: no such file or directory)":                         false,
		"unpacking failed (error: exit status 1; output: open /a: permission denied)":                                    false,
		"rename /s/overlay-layers/tmp/temp-dir-4/0-addition /s/overlay-layers/a.tar-split.gz: no such file or directory": true,
		"rename /s/overlay/tempdirs/temp-dir-4/0-addition /s/overlay/a/diff: permission denied":                          false,
		"open /s/overlay/a/link: no such file or directory":                                                              false,
	} {
		err := errors.New(text)
		got := orLost(err)
		if errors.Is(got, ErrLayerLost) != lost || !errors.Is(got, err) {
			t.Errorf("%s: %v", text, got)
		}
	}
}
