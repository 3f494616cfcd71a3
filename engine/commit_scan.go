package engine

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/buildah/pkg/parse"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// Scan says how a scanner lists what an image holds, its software bill of materials (SBOM): a program in an image of its own
// that sees the container's files.
type Scan struct {
	Preset   string   // a scanner that the library knows: "syft" (also ""), "syft-spdx", "trivy", …
	Image    string   // the scanner's image, instead of a preset's
	Commands []string // what is run in it; {ROOTFS} is where the files are, {OUTPUT} the file to write
	Merge    string   // how the outputs of several commands become one: "cat", "merge-cyclonedx-by-component-name-and-version", …
	Pull     string   // whether the scanner's image is fetched, as FromOptions.Pull

	Output, PURLOutput           *Source // host files that receive the list, and that of the package URLs in it; nil for none
	ImageOutput, ImagePURLOutput string  // the same in the image; "" for none
}

// inImage reports whether the scan adds files to the image.
func (s *Scan) inImage() bool { return s != nil && s.ImageOutput+s.ImagePURLOutput != "" }

// scanning is a scan made ready.
type scanning struct {
	options define.SBOMScanOptions
	files   []scanned
}

// scanned is a host file that the scan's result is for, and where the library writes it.
type scanned struct {
	option  string
	to      *Source
	written string
}

// scanning checks the scan. The library's only door to its presets and checks is a set of flags.
func (b *Builder) scanning(s *Scan) (*scanning, error) {
	if s == nil {
		return nil, nil
	}
	policy, err := pullPolicy(s.Pull)
	if err != nil {
		return nil, err
	}
	made := &scanning{files: []scanned{
		{"sbom_output", s.Output, ""}, {"sbom_purl_output", s.PURLOutput, ""},
	}}
	for i, f := range made.files {
		if f.to != nil {
			made.files[i].written = filepath.Join(b.options.TempDir, f.option)
		}
	}
	flags := pflag.NewFlagSet("commit", pflag.ContinueOnError)
	for name, value := range map[string]string{
		"sbom": s.Preset, "sbom-scanner-image": s.Image, "sbom-merge-strategy": s.Merge,
		"sbom-output": made.files[0].written, "sbom-purl-output": made.files[1].written,
		"sbom-image-output": s.ImageOutput, "sbom-image-purl-output": s.ImagePURLOutput,
	} {
		flags.String(name, value, "")
	}
	flags.StringArray("sbom-scanner-command", s.Commands, "")
	options, err := parse.SBOMScanOptionsFromFlagSet(flags, nil)
	if err != nil {
		return nil, failure.New("commit:", "sbom", "%s", asOptions(err.Error())).
			WithHint("rlbuild help commit lists the options of a scan.")
	}
	if options.PullPolicy = policy; s.Image != "" {
		name, err := b.parse(s.Image)
		if err != nil {
			return nil, err
		}
		options.Image = name.String()
	}
	made.options = *options
	return made, nil
}

// flagName finds flags in the library's messages, which scripts know as options.
var flagName = regexp.MustCompile(`--[a-z-]+`)

// asOptions names options for flags.
func asOptions(message string) string {
	return flagName.ReplaceAllStringFunc(message, func(flag string) string {
		return strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_")
	})
}

// run makes a commit that scans. The library gives scanners the process's own standard files, and what they print is the
// step's, not the script's.
func (s *scanning) run(
	ctx context.Context, c *Container, dest types.ImageReference, o buildah.CommitOptions,
) (results *buildah.CommitResults, err error) {
	isolation, err := c.run.isolation()
	if err != nil {
		return nil, err
	}
	defer func(was define.Isolation) { c.builder.Isolation = was }(c.builder.Isolation)
	if c.builder.Isolation = isolation.kind; isolation.Kind == sandboxKind {
		c.builder.Isolation = define.IsolationChroot // the library doesn't know the sandbox
	}
	streams, err := c.run.startStreams("scan "+c.name, streamOptions{})
	if err != nil {
		return nil, err
	}
	before := descendants(os.Getpid())
	finished := killWhenCancelled(ctx, before)
	in, out, errs := os.Stdin, os.Stdout, os.Stderr
	os.Stdin, os.Stdout, os.Stderr = streams.stdin, streams.stdout, streams.stderr
	o.SBOMScanOptions = []define.SBOMScanOptions{s.options}
	results, err = c.builder.CommitResults(ctx, dest, o)
	os.Stdin, os.Stdout, os.Stderr = in, out, errs
	finished()
	killSince(before)
	_, _, _ = streams.finish("scan", s.options.Commands) // nothing was read
	if ctx.Err() != nil {
		return nil, interrupted(ctx, "scan")
	} else if err != nil {
		if strings.Contains(err.Error(), "to generate SBOM") {
			err = explain("scan with", s.options.Image, err)
		}
		return nil, err
	}
	return results, s.write()
}

// write puts the results where they are to be.
func (s *scanning) write() error {
	for _, f := range s.files {
		if f.to == nil {
			continue
		}
		data, err := os.ReadFile(f.written)
		if err != nil {
			return err
		}
		if err := writeOut("commit", f.option, f.to, data); err != nil {
			return err
		}
	}
	return nil
}
