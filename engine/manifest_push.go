package engine

import (
	"time"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// ListPushOptions are what only the push of a list has.
type ListPushOptions struct {
	ListOnly       bool       // leave out the list's images: the registry has them
	Remove         bool       // remove the list from the store when it is there
	AddCompression []string   // add instances of each image, compressed so: "gzip", "zstd", "zstd:chunked"
	Timestamp      *time.Time // of new content; nil leaves the files' times alone
}

// forLists refuses what a single image hasn't.
func (o ListPushOptions) forLists() error {
	for _, option := range []struct {
		name  string
		given bool
	}{
		{"all", o.ListOnly}, {"rm", o.Remove}, {"add_compression", o.AddCompression != nil}, {"timestamp", o.Timestamp != nil},
	} {
		if option.given {
			return failure.New("push:", option.name, "is for lists of images, and this is a single one").
				WithHint("leave it out, or push a list: push(manifest(name, images), …)")
		}
	}
	return nil
}
