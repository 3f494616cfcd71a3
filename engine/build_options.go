package engine

import (
	"slices"
	"strings"
	"time"

	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"
	imagename "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// BuildImage says what the built image is like, beside what its instructions say.
type BuildImage struct {
	Tags        []string // names in the store, or one at another transport
	Manifest    string   // name of a list that the image, or those of all platforms, are added to
	Format      string   // "oci" (also "") or "docker"
	Squash      bool
	Compression Compression // of an image that is written outside the store

	Labels, LayerLabels, Annotations         []string // KEY=VALUE
	UnsetEnvs, UnsetLabels, UnsetAnnotations []string
	InheritLabels, InheritAnnotations        *bool // nil: they are
	IdentityLabel, CreatedAnnotation         *bool // nil: as the library has it
	OmitHistory                              bool

	Times Times

	OSFeatures []string
	OSVersion  string

	Protection   Protection // signing alone: the library's builder doesn't encrypt
	Scan         *Scan      // lists what is in the image; nil doesn't
	Confidential string     // as CommitOptions.Confidential
}

// BuildCache says which results of earlier builds are taken, and what is kept for later ones.
type BuildCache struct {
	Layers      bool // an image for each instruction
	NoCache     bool
	From, To    []string       // repositories of such images
	TTL         *time.Duration // how old they may be
	SaveStages  bool           // keep the images of earlier stages
	StageLabels bool           // and label them
	AllStages   bool           // build those too that the last doesn't need
}

// BuildOutput is a place that gets the image's files.
type BuildOutput struct {
	Type string // "local", a directory, or "tar"
	Dest string
}

// check refuses what can't be together.
func (o *BuildOptions) check() error {
	refuse := func(option, format string, args ...any) error {
		return failure.New("build:", option, format, args...)
	}
	transport := reference.Storage
	for _, tag := range o.Image.Tags {
		name, err := reference.Parse(tag)
		if err != nil {
			return err
		}
		if name.Transport == "" || name.Transport == reference.Storage {
			continue
		}
		transport = name.Transport
		if len(o.Image.Tags) > 1 || o.Image.Manifest != "" {
			return refuse("tag", "%s leads out of the store, and an image that goes there has no other name, and no list", tag)
		}
		if len(o.Platforms) > 1 || o.AllPlatforms {
			return refuse("tag", "%s leads out of the store, and there is room for one image", tag)
		}
	}
	compressed := transport
	if transport == reference.Storage && len(o.Cache.To) > 0 {
		compressed = reference.Registry // the cache is
	}
	if err := o.Image.Compression.check(o.Image.Format, compressed); err != nil {
		return err
	}
	if err := o.Image.Protection.check(transport); err != nil {
		return err
	}
	switch {
	case slices.Contains(o.Image.Tags, o.Image.Manifest):
		return refuse("manifest", "the list can't have the name of an image, %s", o.Image.Manifest)
	case o.Image.Protection.signs() && len(o.Image.Tags) == 0:
		return refuse("sign_by", "signs an image by its name: tag = …")
	case o.Image.Protection.signs() && (len(o.Platforms) > 1 || o.AllPlatforms):
		return refuse("sign_by", "signs one image: build for one platform, or sign the list when it is pushed")
	case o.Cache.StageLabels && !o.Cache.SaveStages:
		return refuse("stage_labels", "wants save_stages = True: stages that aren't saved have no labels")
	case !o.Cache.Layers && !(o.Steps.Remove && o.Steps.ForceRemove):
		return refuse("rm", "False keeps the containers of a build with layers: layers = True")
	case o.LogSplit && o.LogFile == "":
		return refuse("logsplit", "wants logfile, the beginning of the files' names")
	case o.Cache.TTL != nil && *o.Cache.TTL == 0:
		o.Cache.NoCache = true // nothing is as young as that, as buildah has it
	}
	return nil
}

// translate says all options in the library's words.
func (b *build) translate() (err error) {
	o, l := &b.options, &b.library
	if l.PullPolicy, err = pullPolicy(o.Pull); err != nil {
		return err
	}
	if l.OciDecryptConfig, err = decryption(o.DecryptionKeys); err != nil {
		return err
	}
	l.MaxPullPushRetries, l.PullPushRetryDelay = o.Access.retries(), o.Access.retryDelay()
	for _, platform := range o.Platforms {
		os, arch, variant, err := splitPlatform(platform)
		if err != nil {
			return err
		}
		l.Platforms = append(l.Platforms, struct{ OS, Arch, Variant string }{os, arch, variant})
	}
	if len(l.Platforms) == 0 {
		l.Platforms = []struct{ OS, Arch, Variant string }{{o.OS, o.Arch, o.Variant}}
	}
	l.AllPlatforms = o.AllPlatforms
	if l.Manifest = o.Image.Manifest; l.Manifest == "" && (len(o.Platforms) > 1 || o.AllPlatforms) {
		l.Manifest, b.listed = "localhost/rlbuild-"+b.suffix, true
	}
	l.ContextDirectory, l.ContainerSuffix = b.context, b.suffix
	l.Target, l.From, l.CPPFlags = o.Source.Target, o.Source.From, o.Source.CPPFlags
	l.SourcePolicyFile, l.Envs = o.Source.Policy, b.variables()
	if l.Args, err = b.arguments(); err != nil {
		return err
	}
	if l.SystemContext, err = b.system(); err != nil {
		return err
	}
	if l.AdditionalBuildContexts, err = b.contexts(); err != nil {
		return err
	}
	if err := b.translateImage(); err != nil {
		return err
	}
	if err := b.ignoresSmall(); err != nil {
		return failure.New("build", b.subject, "ignorefile: %w", err)
	}
	if l.IgnoreFile = o.Source.IgnoreFile; l.IgnoreFile != "" {
		if l.Excludes, _, err = parse.ContainerIgnoreFile(b.context, l.IgnoreFile, nil); err != nil {
			return failure.New("build", b.subject, "ignorefile: %w", err)
		}
	}
	if err := b.translateCache(); err != nil {
		return err
	}
	if err := b.translateSteps(); err != nil {
		return err
	}
	return b.translateFiles()
}

func (b *build) translateImage() (err error) {
	o, l := &b.options.Image, &b.library
	for i, tag := range o.Tags {
		name, err := b.run.parse(tag)
		if err != nil {
			return err
		}
		if name.Transport == reference.Storage {
			name.Transport = "" // a plain name is one in the store, in the one that is open
		}
		if i == 0 {
			if b.place, err = b.run.place(name, b.inDir("image")); err != nil {
				return failure.New("build", b.subject, "%w", err)
			}
			l.Output = b.place.name.String()
		} else {
			l.AdditionalTags = append(l.AdditionalTags, name.String())
		}
	}
	if l.OutputFormat, err = manifestType(o.Format); err != nil {
		return err
	}
	l.Squash = o.Squash
	l.Compression = o.Compression.written(false)
	l.CompressionFormat, l.CompressionLevel = o.Compression.chosen(), o.Compression.level()
	l.ForceCompressionFormat = o.Compression.forced() != nil
	l.Labels, l.LayerLabels, l.Annotations = o.Labels, o.LayerLabels, o.Annotations
	l.UnsetEnvs, l.UnsetLabels, l.UnsetAnnotations = o.UnsetEnvs, o.UnsetLabels, o.UnsetAnnotations
	l.InheritLabels, l.InheritAnnotations = optional(o.InheritLabels), optional(o.InheritAnnotations)
	l.CreatedAnnotation = optional(o.CreatedAnnotation)
	times, err := o.Times.resolve(b.run.options.Created)
	if err != nil {
		return err
	}
	l.Timestamp, l.SourceDateEpoch, l.RewriteTimestamp = times.Timestamp, times.SourceDateEpoch, times.Rewrite
	l.OSFeatures, l.OSVersion = o.OSFeatures, o.OSVersion
	if o.Confidential != "" {
		if l.ConfidentialWorkload, err = confidential(o.Confidential); err != nil {
			return err
		}
	}
	if b.scan, err = b.run.scanning(o.Scan); err != nil {
		return err
	}
	if b.scan != nil {
		// The scanner's commands may look at what the image is built of, too.
		b.scan.options.ContextDir = append(b.scan.options.ContextDir, b.context)
		for _, extra := range b.library.AdditionalBuildContexts {
			if !extra.IsURL && !extra.IsImage {
				b.scan.options.ContextDir = append(b.scan.options.ContextDir, extra.Value)
			}
		}
		l.SBOMScanOptions = []define.SBOMScanOptions{b.scan.options}
	}
	return nil
}

func optional(b *bool) types.OptionalBool {
	if b == nil {
		return types.OptionalBoolUndefined
	}
	return types.NewOptionalBool(*b)
}

func (b *build) translateCache() (err error) {
	o, l := &b.options.Cache, &b.library
	l.Layers, l.NoCache = o.Layers, o.NoCache
	if l.CacheFrom, err = repositories("cache_from", o.From); err != nil {
		return err
	}
	if l.CacheTo, err = repositories("cache_to", o.To); err != nil {
		return err
	}
	if o.TTL != nil {
		l.CacheTTL = *o.TTL
	}
	l.SaveStages, l.StageLabels = o.SaveStages, o.StageLabels
	if o.AllStages {
		l.SkipUnusedStages = types.OptionalBoolFalse
	}
	return nil
}

func repositories(option string, names []string) ([]imagename.Named, error) {
	for _, name := range names {
		if _, err := parse.RepoNamesToNamedReferences([]string{name}); err != nil {
			return nil, failure.New("build:", option, "%q is not a repository: %w", name, err).
				WithHint(`write "registry.example/name", without a tag.`)
		}
	}
	return parse.RepoNamesToNamedReferences(names)
}

func (b *build) translateFiles() error {
	o, l := &b.options, &b.library
	for _, output := range o.Outputs {
		if strings.Contains(output.Dest, ",") {
			return failure.New("build:", "output", "%q: the library can't write to a name with a comma", output.Dest)
		}
		l.BuildOutputs = append(l.BuildOutputs, "type="+output.Type+",dest="+output.Dest)
	}
	l.IIDFile, l.IIDFileRaw, l.MetadataFile = o.IIDFile, o.IIDFileRaw, o.MetadataFile
	if _, outside := b.outside(); outside && l.MetadataFile == "" {
		l.MetadataFile = b.inDir("metadata.json") // it is asked for the digest
	}
	l.LogFile, l.LogSplitByPlatform, l.Quiet = o.LogFile, o.LogSplit, o.Quiet
	return nil
}
