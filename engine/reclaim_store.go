package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.podman.io/storage"

	"github.com/rlbuild/rlbuild/engine/journal"
	"github.com/rlbuild/rlbuild/engine/store"
)

// orphanAge is how old a layer that nobody refers to must be: before, a tool that found it in the store may be about to make
// an image of it. The library's check of a store complains from then on.
const orphanAge = 24 * time.Hour

// container deletes a container, and tells whether it is gone. Nobody can begin to use it meanwhile.
func (r *reclaim) container(c ownedContainer) bool {
	unlock, err := journal.Lock(r.ctx, r.dir)
	if err != nil {
		r.stays("container "+shortID(c.id), err)
		return false
	}
	defer unlock()
	used, err := journal.InUse(r.dir, journal.Used, r.claimed)
	name := shortID(c.id)
	if found, lookErr := r.store.Container(c.id); lookErr == nil && len(found.Names) > 0 {
		name = found.Names[0] + " (" + name + ")"
	}
	if err == nil && used[c.id] {
		r.found.Wait = append(r.found.Wait, "container "+name+", which another run works with")
		return false
	}
	if err == nil {
		err = r.store.DeleteContainer(c.id)
	}
	switch {
	case err == nil:
		r.gone("container", name)
		return true
	case errors.Is(err, storage.ErrContainerUnknown), errors.Is(err, storage.ErrNotAContainer):
	default:
		r.stays("container "+name, err)
		return false
	}
	// Killed between the two, it has a layer and no record.
	switch err := r.store.DeleteLayer(c.layer); {
	case err == nil:
		r.gone("container", shortID(c.layer))
	case errors.Is(err, storage.ErrNotALayer), errors.Is(err, storage.ErrLayerUnknown):
	default:
		r.stays("layer "+shortID(c.layer), err)
		return false
	}
	return true
}

// image deletes an image that didn't get its name, and tells whether that is done. It may have one that the run gave it for a moment.
// Others may have made the same meanwhile; who gave it another such name is perhaps just at it.
func (r *reclaim) image(id string, passing []string) bool {
	unlock, err := journal.Lock(r.ctx, r.dir)
	if err != nil {
		return false
	}
	defer unlock()
	for _, kind := range []journal.Kind{journal.Used, journal.Image} {
		if used, err := journal.InUse(r.dir, kind, r.claimed); err != nil || used[id] {
			return false
		}
	}
	image, err := r.store.Image(id)
	if err != nil {
		return true
	}
	ours := slices.DeleteFunc(slices.Clone(image.Names), func(name string) bool {
		return !slices.Contains(passing, name) || !store.Nameless([]string{name})
	})
	if len(ours) < len(image.Names) {
		if len(ours) > 0 {
			err = r.store.RemoveNames(id, ours)
		}
		return err == nil
	}
	switch _, err := r.store.DeleteImage(id, true); {
	case err == nil:
		r.gone("image", shortID(id))
	case errors.Is(err, storage.ErrImageUsedByContainer), errors.Is(err, storage.ErrImageUnknown): // somebody was quicker
	default:
		r.stays("image "+shortID(id), err)
		return false
	}
	return true
}

// unmount takes the mounts of an image, or of a container that stays, out of the library's counts: they went with the run's mount
// namespace. It tells whether that is done. The counts don't say whose the mounts are, so it isn't while somebody else may have
// one.
func (r *reclaim) unmount(id string) bool {
	unlock, err := journal.Lock(r.ctx, r.dir)
	if err != nil {
		return false
	}
	defer unlock()
	used, err := journal.InUse(r.dir, journal.Mounted, r.claimed)
	if err != nil || used[id] {
		return false
	}
	layers := []string{id}
	if image, err := r.store.Image(id); err == nil {
		layers = append(image.MappedTopLayers, image.TopLayer)
	} else if container, err := r.store.Container(id); err == nil {
		layers = []string{container.LayerID}
	}
	done := true
	for _, layer := range layers {
		counted, err := r.store.Mounted(layer)
		if err != nil || counted == 0 {
			continue // it is gone, or the mount was released
		}
		if journal.SeenMounted(r.store.JournalHeader().Root, layer) {
			done = false
		} else if _, err := r.store.Unmount(layer, true); err != nil {
			r.stays("mount of "+shortID(id), err)
			done = false
		} else {
			r.gone("mount", "of "+shortID(id))
		}
	}
	return done
}

// orphans deletes those layers that nobody refers to, and returns those that are too young for that.
func (r *reclaim) orphans(ids []string) (young []string, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	unlockLayers, err := lockLayers(r.ctx, r.store) // a live run makes its image of a layer that it found under this lock
	if err != nil {
		return ids, nil
	}
	defer unlockLayers()
	unlock, err := journal.Lock(r.ctx, r.dir)
	if err != nil {
		return ids, nil
	}
	defer unlock()
	wanted, err := journal.InUse(r.dir, journal.Used, r.claimed) // a live run is about to make an image of it
	if err != nil {
		return ids, nil
	}
	used, err := r.usedLayers()
	if err != nil {
		return nil, fmt.Errorf("looking for layers that killed runs have left: %w", err)
	}
	making, err := journal.InUse(r.dir, journal.Layer, r.claimed)
	if err != nil {
		return nil, fmt.Errorf("looking for layers that killed runs have left: %w", err)
	}
	for _, id := range slices.Backward(ids) { // children first
		layer, err := r.store.Layer(id)
		if err != nil || used[id] || making[id] || layer.MountCount > 0 || slices.Contains(young, id) {
			continue
		}
		if wanted[id] || time.Since(layer.Created) < orphanAge {
			young = append(young, id)
			continue
		}
		switch err := r.store.DeleteLayer(id); {
		case err == nil:
			r.gone("layer", shortID(id))
		case errors.Is(err, storage.ErrLayerHasChildren): // orphans as well, or they would be in use
			young = append(young, id)
		case errors.Is(err, storage.ErrLayerUsedByImage),
			errors.Is(err, storage.ErrLayerUsedByContainer), errors.Is(err, storage.ErrLayerUnknown): // somebody was quicker
		default:
			r.stays("layer "+shortID(id), err)
			young = append(young, id)
		}
	}
	slices.Reverse(young)
	return young, nil
}

// usedLayers returns the layers of images and containers.
func (r *reclaim) usedLayers() (map[string]bool, error) {
	images, err := r.store.Images()
	if err != nil {
		return nil, err
	}
	containers, err := r.store.Containers()
	if err != nil {
		return nil, err
	}
	var tops []string
	for _, image := range images {
		tops = append(append(tops, image.TopLayer), image.MappedTopLayers...)
	}
	for _, container := range containers {
		tops = append(tops, container.LayerID)
	}
	used := map[string]bool{}
	for _, id := range tops {
		for id != "" && !used[id] {
			used[id] = true
			layer, err := r.store.Layer(id)
			if err != nil {
				break // the library's check tells of it
			}
			id = layer.Parent
		}
	}
	return used, nil
}

// lost deletes the containers of runs whose journals are lost. When none is left that could be deleted later, nobody needs to
// look again.
func (r *reclaim) lost() error {
	containers, err := r.store.Containers()
	if err != nil {
		return fmt.Errorf("looking for what killed runs have left: %w", err)
	}
	left := false
	for _, c := range containers {
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		badge, _ := c.Flags[store.RunFlag].(string)
		fate := journal.FateOf(r.ctx, badge, r.dir)
		if fate == journal.Unknown {
			continue
		}
		if fate == journal.Alive || !r.container(ownedContainer{c.ID, c.LayerID}) {
			left = true
			continue
		}
		id, _, _ := strings.Cut(badge, " ")
		r.runs[id] = true
	}
	if !left {
		_ = journal.MarkSwept(r.dir, r.store.JournalHeader()) // else the next run looks again
	}
	return nil
}

func shortID(id string) string { return id[:min(len(id), 12)] }
