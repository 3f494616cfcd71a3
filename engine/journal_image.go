package engine

import (
	"errors"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/journal"
)

// noteImage notes in the journal that the image with this configuration is about to be entered into the store: the library
// does that first and gives it the name then, so whoever is killed in between leaves an image that nobody asked for. Call whole when
// it has its name.
func (b *Builder) noteImage(config []byte) (whole func() error, err error) {
	id := digest.FromBytes(config).Encoded()
	if _, err := b.options.Store.Image(id); err == nil {
		// It has been there before, and stays. Another run may have just made it, and be dead.
		return func() error { return nil }, b.options.Journal.Use(journal.Used, id)
	} else if !errors.Is(err, storage.ErrImageUnknown) {
		return nil, err
	}
	return func() error { return b.options.Journal.Note(journal.Whole, id) }, b.options.Journal.Use(journal.Image, id)
}
