package store

import (
	"io"
	"maps"
	"sync"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/stringid"

	"github.com/rlbuild/rlbuild/engine/journal"
)

// RunFlag is the flag of containers that go with the run that made them. Its value is the run's badge, by which such a container
// is known even when the journal is lost.
const RunFlag = "rlbuild.run"

// ownership is what a run notes of what it makes in the store. It stands between the store and all that work on it, the
// libraries included: nothing is made that the journal doesn't name.
type ownership struct {
	journal *journal.Journal
	badge   string

	mu      sync.Mutex
	own     map[string]bool // containers that go with the run: their mounts go with them
	mounted map[string]bool // what else was mounted
	entered map[string]bool // images that may not be whole yet
	spared  map[string]bool // images that couldn't be given another name
}

// Own makes the store note in the journal what is made in it from now on.
func (s *Store) Own(j *journal.Journal) error {
	badge, err := j.Badge()
	s.owner = &ownership{journal: j, badge: badge, own: map[string]bool{}, mounted: map[string]bool{}, entered: map[string]bool{}, spared: map[string]bool{}}
	return err
}

// ForKeeps returns the store for making containers that are the user's when they are done, which Kept says. Until then they go
// with the run.
func (s *Store) ForKeeps() *Store {
	other := *s
	other.keeping = true
	return &other
}

// Kept notes that a container doesn't go with the run any more.
func (s *Store) Kept(id string) error {
	if s.owner == nil {
		return nil
	}
	return s.owner.journal.Note(journal.Kept, id)
}

// CreateContainer is the library's, with the IDs of the container and of its layer known beforehand.
func (s *Store) CreateContainer(id string, names []string, image, layer, metadata string, o *storage.ContainerOptions) (*storage.Container, error) {
	if s.owner == nil {
		return s.Store.CreateContainer(id, names, image, layer, metadata, o)
	}
	if id == "" {
		id = stringid.GenerateRandomID()
	}
	if layer == "" {
		layer = stringid.GenerateRandomID()
	}
	if err := s.owner.journal.Note(journal.Container, id, layer); err != nil {
		return nil, err
	}
	if !s.keeping {
		var options storage.ContainerOptions
		if o != nil {
			options = *o
		}
		options.Flags = maps.Clone(options.Flags)
		if options.Flags == nil {
			options.Flags = map[string]any{}
		}
		options.Flags[RunFlag] = s.owner.badge
		o = &options
		s.owner.mu.Lock()
		s.owner.own[id] = true
		s.owner.mu.Unlock()
	}
	return s.Store.CreateContainer(id, names, image, layer, metadata, o)
}

// CreateLayer is the library's.
func (s *Store) CreateLayer(id, parent string, names []string, label string, writeable bool, o *storage.LayerOptions) (*storage.Layer, error) {
	id, err := s.noteLayer(id, parent)
	if err != nil {
		return nil, err
	}
	return s.Store.CreateLayer(id, parent, names, label, writeable, o)
}

// PutLayer is the library's, and its errors tell of ErrLayerLost.
func (s *Store) PutLayer(id, parent string, names []string, label string, writeable bool, o *storage.LayerOptions, diff io.Reader) (*storage.Layer, int64, error) {
	id, err := s.noteLayer(id, parent)
	if err != nil {
		return nil, 0, err
	}
	layer, size, err := s.Store.PutLayer(id, parent, names, label, writeable, o, diff)
	return layer, size, orLost(err)
}

// ApplyStagedLayer is the library's.
func (s *Store) ApplyStagedLayer(args storage.ApplyStagedLayerOptions) (layer *storage.Layer, err error) {
	if args.ID, err = s.noteLayer(args.ID, args.ParentLayer); err != nil {
		return nil, err
	}
	return s.Store.ApplyStagedLayer(args)
}

// noteLayer notes a layer that is about to be made above another one, and returns its ID.
func (s *Store) noteLayer(id, parent string) (string, error) {
	if s.Choice.Driver == "overlay" && s.heights.of(s, parent) >= mostLayers {
		return "", ErrTooManyLayers
	}
	if s.owner == nil {
		return id, nil
	}
	if id == "" {
		id = stringid.GenerateRandomID()
	}
	return id, s.owner.journal.Note(journal.Layer, id)
}

// Mount is the library's.
func (s *Store) Mount(id, label string) (string, error) {
	if err := s.noteMount(id); err != nil {
		return "", err
	}
	return s.Store.Mount(id, label)
}

// MountImage is the library's.
func (s *Store) MountImage(id string, options []string, label string) (string, error) {
	if err := s.noteMount(id); err != nil {
		return "", err
	}
	return s.Store.MountImage(id, options, label)
}

// noteMount notes that something is about to be mounted: the library counts mounts in a file, which a killed run doesn't get to put
// right. What goes with the run is left out: it is deleted, with its mounts.
func (s *Store) noteMount(id string) error {
	if s.owner == nil {
		return nil
	}
	s.owner.mu.Lock()
	defer s.owner.mu.Unlock()
	if s.owner.own[id] || s.owner.mounted[id] {
		return nil
	}
	if err := s.owner.journal.Use(journal.Mounted, id); err != nil {
		return err
	}
	s.owner.mounted[id] = true
	return nil
}
