package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"time"

	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// CommitOptions say what image a container becomes.
type CommitOptions struct {
	Name   string // a name in the store, a name at a transport, or "" for a nameless image in the store
	Format string // "oci" (also "") or "docker"
	Squash bool   // one layer, the base image's included
	Remove bool   // the container isn't needed any more
	Times  Times
	Edits  Edits

	AddFiles     map[string]Source // regular files that a layer of their own adds, by their paths in the image; root's, 0644
	Scan         *Scan             // lists what is in the image; nil doesn't
	Confidential string            // "key=value,…" of a confidential workload, as buildah writes them; "" makes an ordinary image
	Manifest     string            // the manifest list that the image is added to, made if there is none; "" for none

	IDFile       *Source // is written the image's ID
	MetadataFile *Source // is written what buildah's --metadata-file says of an image

	Compression Compression // of the layers, for a name at a transport
	Protection  Protection
	Access      Access
}

// Times say when an image was made. The zero value is the run's Options.Created.
type Times struct {
	Timestamp       *time.Time // of the image, its new history and all that the new layer holds
	SourceDateEpoch *time.Time // of the image and its new history
	Rewrite         bool       // nothing that the new layer holds is later than the source date epoch
}

// Edits are what an image has other than its container.
type Edits struct {
	Annotations       []string // "key=value"
	UnsetAnnotations  []string // keys
	CreatedAnnotation *bool    // whether it has one of the time when it was made; nil means it has
	UnsetEnv          []string // names
	Config            []byte   // JSON of a docker configuration, whose fields replace or join those of the container
	Changes           []string // instructions of a Containerfile
	OmitHistory       bool
	IdentityLabel     *bool // whether it says that buildah's library made it; nil means that it does unless it has a fixed time
}

// signs reports whether there is a key to sign with.
func (p Protection) signs() bool { return p.SignBy+p.SigstoreKey != "" }

// resolve completes the times with the run's own.
func (t Times) resolve(created *time.Time) (Times, error) {
	if t.Timestamp != nil && t.SourceDateEpoch != nil {
		return t, failure.New("commit:", "timestamp", "can't be had together with source_date_epoch").
			WithHint("timestamp also sets the times of files; leave out one of them.")
	}
	if t.Timestamp == nil && t.SourceDateEpoch == nil {
		t.SourceDateEpoch = created
	}
	return t, nil
}

// fixed is the time that the image gets, or nil for the time of the commit.
func (t Times) fixed() *time.Time {
	if t.Timestamp != nil {
		return t.Timestamp
	}
	return t.SourceDateEpoch
}

// stamp returns what gives the entries of the new layer their times, or nil if they keep them.
func (t Times) stamp() func(time.Time) time.Time {
	switch {
	case t.Timestamp != nil:
		return func(time.Time) time.Time { return *t.Timestamp }
	case t.Rewrite && t.SourceDateEpoch != nil:
		return func(at time.Time) time.Time {
			if at.After(*t.SourceDateEpoch) {
				return *t.SourceDateEpoch
			}
			return at
		}
	}
	return nil
}

// library returns the options as the library has them.
func (o CommitOptions) library(format string, system *types.SystemContext) (buildah.CommitOptions, error) {
	made := buildah.CommitOptions{
		PreferredManifestType: format,
		SystemContext:         system,
		Squash:                o.Squash,
		HistoryTimestamp:      o.Times.Timestamp,
		SourceDateEpoch:       o.Times.SourceDateEpoch,
		RewriteTimestamp:      o.Times.Rewrite,
		OmitHistory:           o.Edits.OmitHistory,
		UnsetEnvs:             o.Edits.UnsetEnv,
		OverrideChanges:       o.Edits.Changes,
		Annotations:           o.Edits.Annotations,
		UnsetAnnotations:      o.Edits.UnsetAnnotations,
		MaxRetries:            o.Access.retries(),
		RetryDelay:            o.Access.retryDelay(),
	}
	if o.Edits.CreatedAnnotation != nil {
		made.CreatedAnnotation = types.NewOptionalBool(*o.Edits.CreatedAnnotation)
	}
	if o.Edits.Config != nil {
		made.OverrideConfig = &manifest.Schema2Config{}
		if err := json.Unmarshal(o.Edits.Config, made.OverrideConfig); err != nil {
			return made, failure.New("commit:", "config", "%w", err).
				WithHint(`it is the "config" of an image's configuration as docker has it: {"Env": ["A=b"], "User": "app"}`)
		}
	}
	if o.Confidential != "" {
		var err error
		if made.ConfidentialWorkloadOptions, err = confidential(o.Confidential); err != nil {
			return made, err
		}
	}
	return made, nil
}

// findMkfs says what is missing when the library can't make the disk image of a confidential workload.
func findMkfs() error {
	if _, err := exec.LookPath("mkfs"); err != nil {
		return failure.New("looking for", "mkfs", "no such program in PATH").WithKind(failure.Machine).
			WithHint("install it; on Debian and Ubuntu mkfs is in util-linux, and what it runs for ext4 in e2fsprogs.")
	}
	return nil
}

// confidential reads the options of a confidential workload. A passphrase among them doesn't get into the error.
func confidential(text string) (buildah.ConfidentialWorkloadOptions, error) {
	if err := findMkfs(); err != nil {
		return buildah.ConfidentialWorkloadOptions{}, err
	}
	made, err := parse.GetConfidentialWorkloadOptions(text)
	if err != nil {
		return made, failure.New("commit:", "cw", "isn't understood").WithHint("it takes type, attestation_url, passphrase, " +
			"workload_id, cpus, memory, ignore_attestation_errors, firmware_library and slop, a passphrase or an " +
			"attestation_url among them; type is sev or snp, cpus and memory are numbers.")
	}
	return made, nil
}

// onlyLibrary returns why the library has to make this image, as a notDirect, or nil.
func (c *Container) onlyLibrary(o CommitOptions) error {
	switch {
	case o.Squash:
		return notDirect("squashing reads the layers below too")
	case o.Confidential != "":
		return notDirect("a confidential workload is a disk image")
	case len(o.AddFiles) > 0 || o.Scan.inImage():
		return notDirect("added files are a layer of their own")
	case o.Scan != nil:
		return notDirect("the library runs scanners")
	case len(c.builder.PrependedLinkedLayers)+len(c.builder.AppendedLinkedLayers) > 0:
		return notDirect("linked layers are of their own")
	case c.builder.OS() == "windows":
		return notDirect("layers for windows look different")
	case len(o.Protection.EncryptionKeys) > 0:
		return notDirect("the library encrypts layers")
	case !o.Compression.plainFormat():
		return notDirect("zstd:chunked is the library's to write")
	}
	return nil
}

// borrow lets the library and the commit edit those parts of the configuration that they edit in place. The returned
// function gives them back as they were.
func (c *Container) borrow() (restore func()) {
	oci, docker := &c.builder.OCIv1.Config, c.builder.Docker.Config
	env, dockerEnv := oci.Env, docker.Env // these are replaced
	labels, dockerLabels := maps.Clone(oci.Labels), maps.Clone(docker.Labels)
	return func() {
		oci.Env, docker.Env = env, dockerEnv
		oci.Labels, docker.Labels = labels, dockerLabels
		if c.root != "" {
			c.builder.MountPoint = c.root // blanked by the library when it scans, though our own mount is still held
		}
	}
}

// identify adds the label by which buildah marks its images, if the image is to have it.
func (c *Container) identify(o CommitOptions) {
	wanted := o.Times.fixed() == nil
	if o.Edits.IdentityLabel != nil {
		wanted = *o.Edits.IdentityLabel
	}
	if wanted {
		c.builder.SetLabel(buildah.BuilderIdentityAnnotation, define.Version)
	}
}

// stage returns host paths of the files that are added. One below a container's root is copied first, since no link in it may
// lead out.
func (b *Builder) stage(files map[string]Source) (staged map[string]string, err error) {
	staged = map[string]string{}
	for dest, source := range files {
		if source.Root == "/" {
			info, err := os.Stat(source.Path)
			if err == nil && !info.Mode().IsRegular() {
				err = errors.New("is no regular file")
			}
			if err != nil {
				return nil, failure.New("commit:", "add_file", "%s: %w", source.Path, err)
			}
			staged[dest] = source.Path
			continue
		}
		if staged[dest], err = b.copyOut(source); err != nil {
			return nil, failure.New("commit:", "add_file", "%w", err)
		}
	}
	return staged, nil
}

// copyOut copies a regular file from below a container's root to one that goes with the run.
func (b *Builder) copyOut(source Source) (name string, err error) {
	files, err := rootfs.Open(source.Root)
	if err != nil {
		return "", err
	}
	defer files.Close()
	at, err := files.Resolve(source.Path)
	if err != nil {
		return "", err
	}
	dir, err := files.OpenDir(path.Dir(at))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	from, err := dir.Read(path.Base(at))
	if err != nil {
		return "", fmt.Errorf("%s: %w", source.Path, err)
	}
	defer from.Close()
	to, err := os.CreateTemp(b.options.TempDir, "added-")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return to.Name(), errors.Join(err, to.Close())
}

// writeOut writes a file that an option of a verb names; nil is none.
func writeOut(verb, option string, to *Source, data []byte) error {
	if to == nil {
		return nil
	}
	files, err := rootfs.Open(to.Root)
	if err != nil {
		return failure.New(verb+":", option, "%w", err)
	}
	defer files.Close()
	if err := files.WriteFile(to.Path, data, rootfs.Write{}); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return failure.New(verb+":", option, "there is no directory %s", filepath.Join(to.Root, path.Dir(to.Path))).
				WithHint("make it first, or name another file; the image is there all the same.")
		}
		return failure.New(verb+":", option, "%w", err)
	}
	return nil
}
