package engine

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/rlbuild/rlbuild/engine/journal"
)

// ownedContainer is a container of a dead run.
type ownedContainer struct{ id, layer string }

// owned is what the entries of a journal come to.
type owned struct {
	containers []ownedContainer
	images     []string            // without their names
	passing    map[string][]string // names that the run gave them for a moment
	layers     []string
	mounts     []string // of images and of containers that stay
	temporary  []string
	runtimes   []journal.Entry
}

// sortEntries leaves out what no run notes: deeds follow from these entries.
func sortEntries(entries []journal.Entry, run string) *owned {
	o := &owned{passing: map[string][]string{}}
	for _, e := range entries {
		word := e.Words[0]
		switch e.Kind {
		case journal.Container:
			if len(e.Words) == 2 && isStoreID(word) && isStoreID(e.Words[1]) {
				o.containers = append(o.containers, ownedContainer{word, e.Words[1]})
			}
		case journal.Kept:
			o.containers = slices.DeleteFunc(o.containers, func(c ownedContainer) bool { return c.id == word })
		case journal.Layer:
			if isStoreID(word) {
				o.layers = append(o.layers, word)
			}
		case journal.Image:
			if isStoreID(word) {
				if !slices.Contains(o.images, word) {
					o.images = append(o.images, word)
				}
				o.passing[word] = append(o.passing[word], e.Words[1:]...)
			}
		case journal.Whole:
			o.images = slices.DeleteFunc(o.images, func(id string) bool { return id == word })
		case journal.Mounted:
			o.mounts = append(o.mounts, word)
		case journal.Temporary:
			if filepath.IsAbs(word) && strings.Contains(filepath.Base(word), run) {
				o.temporary = append(o.temporary, word)
			}
		case journal.Runtime:
			// The program is going to be run: only one that worked in the run's own directory, which was noted before.
			if len(e.Words) == 2 && filepath.IsAbs(word) && slices.ContainsFunc(o.temporary, func(dir string) bool {
				return strings.HasPrefix(filepath.Clean(e.Words[1]), filepath.Clean(dir)+"/")
			}) {
				o.runtimes = append(o.runtimes, e)
			}
		}
	}
	return o
}

// isStoreID tells whether a word is an ID of the library's: 64 hexadecimal digits.
func isStoreID(word string) bool {
	return len(word) == 64 && strings.Trim(word, "0123456789abcdef") == ""
}
