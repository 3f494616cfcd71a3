package builtins

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

func buildVerb() *verb {
	return &verb{
		name:    "build",
		summary: "builds an image by the instructions of a Containerfile",
		doc: `The work is done by buildah's own builder, in the store that the other verbs use; the options are those of
buildah build. The instructions come from containerfile, from contents, or from the file Containerfile or Dockerfile of
the context. Without a context there is nothing for COPY and ADD to take, except from other stages and images. An archive or a folder that instructions name with
a transport, as in FROM oci-archive:base.tar, is one in the context, wherever its path begins; build_context gives them any other.

RUN is executed by an OCI runtime where one works, else in a chroot: the builder doesn't know the sandbox that other
steps run in. What it prints is shown as it comes. A build that fails ends the script, and leaves no containers behind.`,
		params: slices.Concat(buildSourceParams, imageParams, buildImageParams, buildCacheParams, buildStepParams, userParams,
			stepDefaultParams,
			buildScanParams(), signingParams(), compressionParams, buildFileParams, accessParams),
		gives: "an image: .id, .digest, .names; for several platforms without manifest, a list of images",
		example: `image = build(contents = """
FROM base
RUN echo hello > /hello
""", build_context = {"base": commit(ctr)}, tag = "localhost/example-build")
print(image.names)
remove(image)`,
		more: buildExamples,
		do:   (*call).build,
	}
}

// build calls the engine with what the parameters say.
func (c *call) build() (starlark.Value, error) {
	o := engine.BuildOptions{
		Platforms: c.texts("platform"), AllPlatforms: c.flag("all_platforms", false),
		Pull: c.policy("pull"), Quiet: c.flag("quiet", false),
	}
	for _, part := range []func(*engine.BuildOptions) error{
		c.buildSource, c.buildImage, c.buildCache, c.buildSteps, c.buildFiles,
	} {
		if err := part(&o); err != nil {
			return nil, err
		}
	}
	if err := c.buildPlatform(&o); err != nil {
		return nil, err
	}
	var err error
	if o.DecryptionKeys, err = c.decryptionKeys(); err != nil {
		return nil, err
	}
	if o.Access, err = c.access(); err != nil {
		return nil, err
	}
	built, err := c.session.engine.Build(c.ctx(), o)
	if err != nil {
		return nil, err
	}
	if !built.Many {
		return &imageValue{built.Images[0]}, nil
	}
	return imageList(built.Images), nil
}

func (c *call) buildSource(o *engine.BuildOptions) error {
	s := &o.Source
	switch value := c.values["context"].(type) {
	case nil:
	case starlark.String:
		if text := string(value); fetched(text) {
			s.URL = text
			break
		}
		source, err := c.sourceOf(value)
		if err != nil {
			return err
		}
		s.Context = &source
	default:
		source, err := c.sourceOf(value)
		if err != nil {
			return err
		}
		s.Context = &source
	}
	if s.Contents = c.text("contents"); c.given("contents") && strings.TrimSpace(s.Contents) == "" {
		return c.wrong("contents", "is empty")
	}
	if c.given("contents") && c.given("containerfile") {
		return c.wrong("contents", "is given beside containerfile: the instructions come from one of them")
	}
	for _, value := range oneOrMore(c.values["containerfile"]) {
		file := engine.Containerfile{Name: hostString(value)}
		if file.Name != "-" && !fetched(file.Name) {
			source, err := c.sourceOf(value)
			if err != nil {
				return err
			}
			file.Source = source
		}
		s.Containerfiles = append(s.Containerfiles, file)
	}
	if !c.given("context") && !c.given("contents") && !c.given("containerfile") {
		return c.bad("lacks instructions").WithHint(`give a directory with a Containerfile: build("dir"); or containerfile, or contents.`)
	}
	return c.buildSourceOptions(s)
}

func (c *call) buildSourceOptions(s *engine.BuildSource) (err error) {
	if s.Args, err = c.lines("build_arg"); err != nil {
		return err
	}
	if s.Env, err = c.lines("env"); err != nil {
		return err
	}
	if s.ArgFiles, err = c.places("build_arg_file"); err != nil {
		return err
	}
	if dict, ok := c.values["build_context"].(*starlark.Dict); ok {
		s.Contexts = map[string]engine.ExtraContext{}
		for _, item := range dict.Items() {
			extra, err := c.extraContext(item[1])
			if err != nil {
				return err
			}
			s.Contexts[hostString(item[0])] = extra
		}
	}
	if s.IgnoreFile, err = c.placeOf("ignorefile"); err != nil {
		return err
	}
	if s.Policy, err = c.placeOf("source_policy_file"); err != nil {
		return err
	}
	s.Target, s.From, s.CPPFlags = c.text("target"), c.text("from_"), c.texts("cpp_flag")
	if image, ok := c.values["from_"].(*imageValue); ok {
		s.From, err = c.storedID("from_", image)
	}
	return err
}

// extraContext returns a further context: an image, a directory, or a string that may name either, as for buildah.
func (c *call) extraContext(value starlark.Value) (engine.ExtraContext, error) {
	if image, ok := value.(*imageValue); ok {
		id, err := c.storedID("build_context", image)
		return engine.ExtraContext{Text: "container-image://" + id}, err
	}
	if text, ok := starlark.AsString(value); ok && strings.Contains(text, "://") {
		return engine.ExtraContext{Text: text}, nil
	}
	source, err := c.sourceOf(value)
	return engine.ExtraContext{Source: &source}, err
}

func (c *call) buildImage(o *engine.BuildOptions) (err error) {
	i := &o.Image
	i.Tags, i.Manifest, i.Format = c.texts("tag"), c.text("manifest"), c.format()
	i.Squash, i.OmitHistory = c.flag("squash", false), c.flag("omit_history", false)
	for name, target := range map[string]*[]string{"label": &i.Labels, "layer_label": &i.LayerLabels, "annotation": &i.Annotations} {
		if *target, err = c.lines(name); err != nil {
			return err
		}
	}
	i.UnsetEnvs, i.UnsetLabels, i.UnsetAnnotations = c.texts("unsetenv"), c.texts("unsetlabel"), c.texts("unsetannotation")
	i.InheritLabels, i.InheritAnnotations = c.choice("inherit_labels"), c.choice("inherit_annotations")
	i.IdentityLabel, i.CreatedAnnotation = c.choice("identity_label"), c.choice("created_annotation")
	if i.Times, err = c.times(); err != nil {
		return err
	}
	i.OSFeatures, i.OSVersion = c.texts("os_feature"), c.text("os_version")
	if i.Scan, err = c.scan(); err != nil {
		return err
	}
	if i.Confidential, err = c.confidential(); err != nil {
		return err
	}
	if i.Protection, err = c.protection(); err != nil {
		return err
	}
	i.Compression, err = c.compression()
	if i.Compression == (engine.Compression{}) && !c.given("disable_compression") {
		i.Compression.Disable = true // as buildah has it for builds
	}
	return err
}

func (c *call) buildCache(o *engine.BuildOptions) error {
	b := &o.Cache
	b.Layers, b.NoCache = c.layers(), c.flag("no_cache", false)
	b.From, b.To = c.texts("cache_from"), c.texts("cache_to")
	b.SaveStages, b.StageLabels = c.flag("save_stages", false), c.flag("stage_labels", false)
	b.AllStages = !c.flag("skip_unused_stages", true)
	if c.given("cache_ttl") {
		ttl, err := c.duration("cache_ttl")
		if err != nil {
			return err
		}
		b.TTL = &ttl
		if ttl == 0 && c.given("no_cache") && !b.NoCache {
			return c.wrong("cache_ttl", "0 means that nothing is taken from the cache, and no_cache = False that it is")
		}
	}
	return nil
}

func (c *call) buildSteps(o *engine.BuildOptions) (err error) {
	s := &o.Steps
	if s.Defaults, err = c.stepDefaults(); err != nil {
		return err
	}
	s.Users = c.users()
	s.Runtime, s.RuntimeFlags = hostString(c.values["runtime"]), c.texts("runtime_flag")
	if strings.Contains(s.Runtime, "/") {
		if s.Runtime, err = c.placeOf("runtime"); err != nil {
			return err
		}
	}
	if s.HooksDirs, err = c.places("hooks_dir"); err != nil {
		return err
	}
	if s.Secrets, err = c.buildSecrets(); err != nil {
		return err
	}
	if s.SSH, err = c.buildSSH(); err != nil {
		return err
	}
	if s.Mounts, err = c.buildMounts(); err != nil {
		return err
	}
	s.Volumes = c.texts("volume")
	s.Stdin, s.CompatVolumes = c.flag("stdin", false), c.flag("compat_volumes", false)
	s.NoHostname, s.NoHosts = c.flag("no_hostname", false), c.flag("no_hosts", false)
	s.Remove, s.ForceRemove = c.flag("rm", true), c.flag("force_rm", true)
	s.Jobs = 1
	if c.given("jobs") {
		s.Jobs, err = c.count("jobs")
	}
	return err
}

// buildPlatform adds os, arch and variant, which say in three parts what platform says in one.
func (c *call) buildPlatform(o *engine.BuildOptions) error {
	os, arch, variant := c.text("os"), c.text("arch"), c.text("variant")
	if os == "" && arch == "" && variant == "" {
		return nil
	}
	if len(o.Platforms) > 0 || o.AllPlatforms {
		return c.wrong("platform", "says the same as os, arch and variant: give it, or those")
	}
	o.OS, o.Arch, o.Variant = os, arch, variant
	return nil
}

func (c *call) buildFiles(o *engine.BuildOptions) (err error) {
	for name, target := range map[string]*string{
		"iidfile": &o.IIDFile, "iidfile_raw": &o.IIDFileRaw, "metadata_file": &o.MetadataFile, "logfile": &o.LogFile,
	} {
		if !c.given(name) {
			continue
		}
		if *target, err = c.newFile(name, c.values[name]); err != nil {
			return err
		}
	}
	o.LogSplit = c.flag("logsplit", false)
	for _, value := range oneOrMore(c.values["output"]) {
		output, err := c.buildOutput(value)
		if err != nil {
			return err
		}
		o.Outputs = append(o.Outputs, output)
	}
	return nil
}

// buildOutput parses a path, or a string as buildah takes it: "DIR", or "type=local|tar,dest=PATH".
func (c *call) buildOutput(value starlark.Value) (o engine.BuildOutput, err error) {
	o.Type = "local"
	dest := value
	if text, ok := starlark.AsString(value); ok && strings.ContainsAny(text, ",=") {
		o.Type, dest = "", starlark.String("")
		for part := range strings.SplitSeq(text, ",") {
			switch key, rest, _ := strings.Cut(part, "="); key {
			case "type":
				o.Type = rest
			case "dest":
				dest = starlark.String(rest)
			default:
				return o, c.wrong("output", "%q: there is no %q, only type and dest", text, key)
			}
		}
		if o.Type != "local" && o.Type != "tar" {
			return o, c.wrong("output", `%q: type is "local", a directory, or "tar"`, text)
		}
	}
	switch hostString(dest) {
	case "":
		return o, c.wrong("output", "lacks the place: dest=PATH")
	case "-":
		return o, c.wrong("output", "standard output belongs to the script").WithHint("write a file: \"type=tar,dest=FILE\"")
	}
	o.Dest, err = c.newFile("output", dest)
	return o, err
}
