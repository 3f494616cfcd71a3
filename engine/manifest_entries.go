package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/common/libimage/manifests"
	"go.podman.io/common/pkg/retry"
	"go.podman.io/image/v5/manifest"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// ListEntry is what becomes an instance of a list, or all those of another list: an image, or an artefact. What is said
// of its platform counts instead of what its configuration says.
type ListEntry struct {
	Image    ImageName
	Artifact *Artifact // instead of an image

	OS, Arch, Variant, OSVersion string
	OSFeatures, Features         []string // Features are in docker's format only
	Annotations                  map[string]string
	All                          bool // as ManifestOptions.All
}

// Artifact is a manifest for files that are no layers of an image. They are read when the list is pushed.
type Artifact struct {
	Files         []string // host paths
	Type          string   // media type of it all; "" is "application/vnd.unknown.artifact.v1"
	Config        string   // host path of its configuration; "" for none
	ConfigType    string   // media type; "" is that of an empty one
	LayerType     string   // media type of the files; "" goes by their names and contents
	Subject       *ImageName
	Annotations   map[string]string
	ExcludeTitles bool // the files' names aren't noted
}

// listEdit is a list of the store that is made, or changed in its place.
type listEdit struct {
	run     *Builder
	options ManifestOptions
	name    string // its full name
	old     *Image // what has the name; nil for none
	isList  bool   // whether that is a list

	mediaType string         // of a new list; "" leaves it to what is in it
	list      manifests.List // in memory
}

// editList finds what has the list's name.
func (b *Builder) editList(o ManifestOptions) (*listEdit, error) {
	name, err := b.localName(o.Name)
	if err != nil {
		return nil, err
	}
	e := &listEdit{run: b, options: o, name: name}
	if e.old, e.isList, err = b.named(name); err != nil {
		return nil, explain("manifest", o.Name, err)
	}
	return e, nil
}

// save puts what is asked for into the list that has the name, if that is to be amended, else into a new one that takes
// the name. It returns the list's ID.
func (e *listEdit) save(ctx context.Context) (id string, err error) {
	if e.isList && e.options.Amend {
		id, err = e.old.ID, e.amend(ctx)
	} else if id, err = e.create(ctx); err == nil && e.isList {
		e.run.dropUnnamed(e.old)
	}
	if err != nil {
		return "", explain("manifest", e.options.Name, err)
	}
	e.run.settle()
	return id, nil
}

// amend changes the list in its place, where it has the other names that it may have too.
func (e *listEdit) amend(ctx context.Context) error {
	store := e.run.options.Store
	lock, err := manifests.LockerForImage(store, e.old.ID)
	if err != nil {
		return err
	}
	lock.Lock()
	defer lock.Unlock()
	err = e.again(ctx, func() (err error) {
		_, e.list, err = manifests.LoadFromImage(store, e.old.ID)
		return err
	})
	if err == nil {
		_, err = e.list.SaveToImage(store, e.old.ID, nil, "")
	}
	return err
}

// create makes a new list and gives it the name, and returns its ID.
func (e *listEdit) create(ctx context.Context) (string, error) {
	err := e.again(ctx, func() error {
		e.list = manifests.Create()
		return nil
	})
	if err != nil {
		return "", err
	}
	store := e.run.options.Store
	id, err := e.list.SaveToImage(store, "", nil, e.mediaType)
	if err != nil {
		return "", err
	}
	if e.isList {
		if err := store.Passing(e.old.ID); err != nil {
			return "", err
		}
	}
	if err := store.AddNames(id, []string{e.name}); err != nil {
		_, undo := store.DeleteImage(id, true)
		return "", errors.Join(err, undo)
	}
	return id, nil
}

// again applies what is asked for to the list that start makes or loads, as often as registries need to be asked.
func (e *listEdit) again(ctx context.Context, start func() error) error {
	attempt := func() error {
		if err := start(); err != nil {
			return err
		}
		return e.apply(ctx)
	}
	return retry.IfNecessary(ctx, attempt, &retry.Options{MaxRetry: e.options.Access.retries(), Delay: e.options.Access.retryDelay()})
}

func (e *listEdit) apply(ctx context.Context) error {
	for _, name := range e.options.Remove {
		sum, err := e.digest(ctx, name)
		if err != nil {
			return err
		}
		if err := e.list.Remove(sum); err != nil {
			return e.notThere(name)
		}
	}
	for _, entry := range e.options.Entries {
		sums, err := e.add(ctx, entry)
		if err != nil {
			return err
		}
		for _, sum := range sums {
			if err := e.set(sum, entry); err != nil {
				return fmt.Errorf("%s: %w", entry.Image, err)
			}
		}
	}
	index := e.options.Settings
	if len(index.Annotations) > 0 {
		if err := e.list.SetAnnotations(nil, index.Annotations); err != nil {
			return err
		}
	}
	if index.ArtifactType != "" {
		if err := e.list.SetArtifactType(nil, index.ArtifactType); err != nil {
			return err
		}
	}
	if index.Subject != nil {
		subject, err := e.run.subject(ctx, *index.Subject, e.options.Access)
		if err != nil {
			return err
		}
		if err := e.list.SetSubject(subject); err != nil {
			return err
		}
	}
	return e.features()
}

// features refuses features that the list's format would lose.
func (e *listEdit) features() error {
	text, err := e.list.Serialize("")
	if err != nil || manifest.GuessMIMEType(text) != v1.MediaTypeImageIndex {
		return err
	}
	for _, entry := range e.list.Docker().Manifests {
		if len(entry.Platform.Features) > 0 {
			return failure.New("manifest:", "features", "are in docker's format only, and this list is in OCI's: it has annotations or artefacts").
				WithHint("leave out the features, or what only OCI has.")
		}
	}
	return nil
}

// add puts the entry into the list, or finds it there by its digest, and returns the digests of what it came to.
func (e *listEdit) add(ctx context.Context, entry ListEntry) ([]digest.Digest, error) {
	if entry.Artifact != nil {
		sum, err := e.artifact(ctx, entry)
		return []digest.Digest{sum}, err
	}
	if sum, ok := entry.Image.inList(); ok {
		if !slices.Contains(e.list.Instances(), sum) {
			return nil, e.notThere(entry.Image)
		}
		return []digest.Digest{sum}, nil
	}
	all := entry.All || e.options.All
	if all && entry.Image.Image == nil {
		if stored, found, err := e.run.List(entry.Image.Text); err != nil {
			return nil, err
		} else if found {
			return e.stored(ctx, stored)
		}
	} else if id := entry.Image.Image; id != nil && id.Stored {
		isList, err := e.run.isList(id.ID)
		if err != nil {
			return nil, err
		} else if isList {
			stored, err := e.run.listByID(id.ID)
			if err != nil {
				return nil, err
			}
			if all {
				return e.stored(ctx, stored)
			}
			entry.Image = ImageName{Text: id.ID} // as a name, that stands for this platform's image
		}
	}
	ref, system, err := e.run.imageSource(entry.Image, e.options.Access)
	if err != nil {
		return nil, err
	}
	before := e.list.Instances()
	sum, err := e.list.Add(ctx, system, ref, all)
	if err != nil {
		return nil, fmt.Errorf("adding %s: %w", entry.Image, err)
	}
	sums := []digest.Digest{sum}
	for _, now := range e.list.Instances() {
		if !slices.Contains(before, now) && now != sum {
			sums = append(sums, now)
		}
	}
	return sums, nil
}

// artifact puts an artefact into the list.
func (e *listEdit) artifact(ctx context.Context, entry ListEntry) (digest.Digest, error) {
	a := entry.Artifact
	o := manifests.AddArtifactOptions{Annotations: a.Annotations, ExcludeTitles: a.ExcludeTitles, ConfigFile: a.Config}
	if a.Type != "" {
		o.ManifestArtifactType = &a.Type
	}
	if a.LayerType != "" {
		o.LayerMediaType = &a.LayerType
	}
	// As buildah has it: a configuration whose type isn't given has that of an empty one.
	descriptor := v1.DescriptorEmptyJSON
	if a.ConfigType != "" {
		descriptor.MediaType = a.ConfigType
	}
	if a.Config != "" {
		descriptor.Data, descriptor.Size = nil, -1
	}
	o.ConfigDescriptor = &descriptor
	system, err := e.run.systemWith(e.options.Access)
	if err != nil {
		return "", err
	}
	if a.Subject != nil {
		if o.SubjectReference, system, err = e.run.imageSource(*a.Subject, e.options.Access); err != nil {
			return "", err
		}
	}
	sum, err := e.list.AddArtifact(ctx, system, o, a.Files...)
	if err != nil {
		return "", fmt.Errorf("adding the artefact: %w", err)
	}
	return sum, nil
}

// set says of an instance what the entry says.
func (e *listEdit) set(sum digest.Digest, entry ListEntry) error {
	var errs []error
	for _, text := range []struct {
		value string
		set   func(digest.Digest, string) error
	}{
		{entry.OS, e.list.SetOS}, {entry.OSVersion, e.list.SetOSVersion}, {entry.Arch, e.list.SetArchitecture},
		{entry.Variant, e.list.SetVariant},
	} {
		if text.value != "" {
			errs = append(errs, text.set(sum, text.value))
		}
	}
	if len(entry.OSFeatures) > 0 {
		errs = append(errs, e.list.SetOSFeatures(sum, entry.OSFeatures))
	}
	if len(entry.Features) > 0 {
		errs = append(errs, e.list.SetFeatures(sum, entry.Features))
	}
	if len(entry.Annotations) > 0 {
		errs = append(errs, e.list.SetAnnotations(&sum, entry.Annotations))
	}
	return errors.Join(errs...)
}

// digest returns the digest by which a list has the image.
func (e *listEdit) digest(ctx context.Context, name ImageName) (digest.Digest, error) {
	if sum, ok := name.inList(); ok {
		return sum, nil
	}
	ref, system, err := e.run.imageSource(name, e.options.Access)
	if err != nil {
		return "", err
	}
	data, _, err := manifestAt(ctx, ref, system)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	return manifest.Digest(data)
}

func (e *listEdit) notThere(name ImageName) error {
	return failure.New("manifest", e.options.Name, "%s isn't in the list", name).
		WithHint("the list's .instances have the digests of what is.")
}
