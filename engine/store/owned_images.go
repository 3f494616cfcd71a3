package store

import (
	"errors"
	"regexp"
	"slices"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/stringid"

	"github.com/rlbuild/rlbuild/engine/journal"
)

// CreateImage is the library's, with the ID known beforehand. The libraries enter an image first and give it its name then:
// whoever is killed in between leaves an image that nobody asked for, so the journal names it until it is whole. That is when
// it gets its name, or with Settle.
func (s *Store) CreateImage(id string, names []string, layer, metadata string, o *storage.ImageOptions) (*storage.Image, error) {
	if id == "" {
		id = stringid.GenerateRandomID()
	}
	if err := s.noteImage(id); err != nil {
		return nil, err
	}
	image, err := s.Store.CreateImage(id, names, layer, metadata, o)
	if err == nil && len(names) > 0 {
		s.owner.whole(id)
	}
	return image, err
}

// noteImage notes that an image is about to be entered, unless it is there: then it stays.
func (s *Store) noteImage(id string) error {
	if s.owner == nil {
		return nil
	}
	// First of all: what a dead run has left under this ID isn't taken away any more after this.
	if err := s.owner.journal.Use(journal.Used, id); err != nil {
		return err
	}
	if _, err := s.Store.Image(id); err == nil || !errors.Is(err, storage.ErrImageUnknown) {
		return err
	}
	s.owner.mu.Lock()
	s.owner.entered[id] = true
	s.owner.mu.Unlock()
	return s.owner.journal.Note(journal.Image, id)
}

// Passing notes that an image goes when it is found without a name, until Settle or a name of its own: it is about to lose
// the one that it has, and to be deleted.
func (s *Store) Passing(id string) error {
	if s.owner == nil {
		return nil
	}
	s.owner.mu.Lock()
	s.owner.entered[id] = true
	s.owner.mu.Unlock()
	return s.owner.journal.Use(journal.Image, id)
}

// Settle notes that all images that the run has entered are there to stay, with a name or without.
func (s *Store) Settle() error {
	if s.owner == nil {
		return nil
	}
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	for id := range s.owner.entered {
		if err := s.owner.journal.Note(journal.Whole, id); err != nil {
			return err
		}
		delete(s.owner.entered, id)
	}
	return nil
}

// whole notes that an image is there to stay. It has its name by now, which can't be taken back: an image that has one isn't taken
// away, whatever the journal says, so where that can't be noted nothing is wrong.
func (o *ownership) whole(id string) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.entered[id] && o.journal.Note(journal.Whole, id) == nil {
		delete(o.entered, id)
	}
}

// Caching returns the store for builds that keep the images in between, which have no names, for later builds.
func (s *Store) Caching() *Store {
	other := *s
	other.caching = true
	return &other
}

// temporaryName is what buildah calls an image that is to have no name, while it is written (CommitResults in commit.go).
var temporaryName = regexp.MustCompile(`^docker\.io/library/[0-9a-f]{64}-tmp:latest$`)

// Nameless tells whether these names of an image are none: not one that somebody has chosen.
func Nameless(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !temporaryName.MatchString(name) })
}

// AddNames is the library's, but names that can't be written stay with whom they were: the library has changed its own copy
// of the list by then, and would write that the next time.
func (s *Store) AddNames(id string, names []string) error {
	before := map[string][]string{} // names by who has them, "" for nobody
	for _, name := range names {
		holder := ""
		if image, err := s.Store.Image(name); err == nil {
			holder = image.ID
		}
		before[holder] = append(before[holder], name)
	}
	image, unknown := s.Store.Image(id)
	if unknown == nil && Nameless(names) {
		if err := s.owner.passing(image.ID, names); err != nil {
			return err
		}
	}
	err := s.Store.AddNames(id, names)
	if unknown != nil { // no image: a container's or a layer's
		return err
	}
	if err == nil {
		s.owner.spare(image.ID, false)
		if !Nameless(names) {
			s.owner.whole(image.ID)
		}
		return nil
	}
	s.owner.spare(image.ID, true)
	// What these answer doesn't matter: they can't write either.
	for holder, names := range before {
		switch holder {
		case image.ID:
		case "":
			_ = s.Store.RemoveNames(image.ID, names)
		default:
			_ = s.Store.AddNames(holder, names)
		}
	}
	return err
}

// passing notes that an image that the run has entered gets names for a moment: it goes with these, but others may be of a live
// process.
func (o *ownership) passing(id string, names []string) error {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.entered[id] {
		return nil
	}
	return o.journal.Note(journal.Image, append([]string{id}, names...)...)
}

// RemoveNames is the library's, but names stay where that can't be written, as with AddNames.
func (s *Store) RemoveNames(id string, names []string) error {
	image, unknown := s.Store.Image(id)
	err := s.Store.RemoveNames(id, names)
	switch {
	case unknown != nil:
	case err != nil:
		kept := slices.DeleteFunc(slices.Clone(image.Names), func(name string) bool { return !slices.Contains(names, name) })
		_ = s.Store.AddNames(image.ID, kept)
	case s.caching && Nameless(names):
		s.owner.whole(image.ID)
	}
	return err
}

// spare notes whether an image that was whole couldn't be given another name.
func (o *ownership) spare(id string, failed bool) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if failed && !o.entered[id] {
		o.spared[id] = true
	} else {
		delete(o.spared, id)
	}
}

// takeSpared tells whether an image couldn't be given another name just now, and forgets it.
func (o *ownership) takeSpared(id string) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	spared := o.spared[id]
	delete(o.spared, id)
	return spared
}
