package store

import (
	"errors"
	"sync"
)

// mostLayers is how many layers overlay puts on top of each other beneath a container: the library's own limit, which it tells
// only when the container is mounted. An image of ten thousand layers would be unpacked first, for an hour.
const mostLayers = 500

// ErrTooManyLayers is the error for a layer above as many as a container can have beneath it.
var ErrTooManyLayers = errors.New("max depth exceeded") // in the library's words

// heights are the numbers of layers from known ones down to the bottom: the height of one that is put on the last one made is at
// hand, where walking down from each would take time with the square of their number.
type heights struct {
	mu    sync.Mutex
	known map[string]int
}

// of returns how many layers there are from the one named down to the bottom; 0 for "" and for one that isn't there.
func (h *heights) of(s *Store, id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	var above []string
	height := 0
	for id != "" {
		known, ok := h.known[id]
		if ok {
			height = known
			break
		}
		layer, err := s.Layer(id)
		if err != nil {
			break
		}
		above = append(above, id)
		id = layer.Parent
	}
	for i := len(above) - 1; i >= 0; i-- {
		height++
		h.known[above[i]] = height
	}
	return height
}
