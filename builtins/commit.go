package builtins

import (
	"slices"
	"strings"

	sljson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var commitVerb = &verb{
	name:    "commit",
	summary: "makes an image of a container's files and configuration",
	doc: `A plain name is one in the store, where podman and buildah see it at once: "app" is localhost/app:latest. Names at a
transport write the image there: docker://registry/name:tag, oci:DIR[:NAME], oci-archive:FILE[:NAME],
docker-archive:FILE[:NAME:TAG], dir:DIR, containers-storage:NAME. The container stays and can go on changing; with
rm = True it is removed, as by remove(ctr), and an image in the store takes over its files instead of a copy.

The image is there whole or not at all, whether the commit fails, is interrupted or killed, and until it is there what had the
name stays as it was. A file or new directory is written beside the place that it takes in the end, and what is to go into a
directory that is there, in it, under another name. Such a directory stays the one it is: in an OCI layout the image is
added to what others have added meanwhile; in that of dir: files replace those of the old image one by one, at every moment
with a whole image, and the others that were there when the commit began are removed. A docker-archive that is there is never
overwritten, nor one that somebody else makes meanwhile. A file that is a mount point, another user's or group's, or has other
names, gets the archive copied into it when that is complete; a pipe or a device gets it as it comes.

Without timestamp and source_date_epoch the time is that of SOURCE_DATE_EPOCH, or now. What change, config, unsetenv and the
annotations say holds for this image, and not for the container. A scan runs a command in the scanner's image, which sees the
container's files in {ROOTFS} and writes what it finds to {OUTPUT}; the list goes to files of the host, into the image, or both.`,
	params: slices.Concat([]param{ctrParam,
		{name: "name", kind: aString, doc: "the image's name; an image in the store needs none"},
		{name: "rm", kind: aBool, keyword: true, fallback: "False", doc: "the container isn't needed any more: remove it"},
		{name: "annotation", kind: aMapping, keyword: true, doc: "annotations of the manifest, besides the container's; OCI format only"},
		{name: "unsetannotation", kind: texts, keyword: true, doc: "annotations of the container that the image doesn't get"},
		{name: "config", kind: kind{"a path, a string, or a dict", either(isPath, is[*starlark.Dict])}, keyword: true,
			doc: `a JSON file, or a dict, with parts of a docker configuration: {"User": "app"}`},
		{name: "change", kind: texts, keyword: true, doc: "instructions of a Containerfile that change the configuration, after config"},
		{name: "add_file", kind: kind{`a dict from paths in the image to host paths, or a list of "SOURCE[:DESTINATION]"`,
			either(dictOf(isPath), listOf(isString))}, keyword: true, doc: "host files that the image gets in a layer of their own, as root's, 0644"},
		{name: "manifest", kind: aString, keyword: true, doc: "manifest list in the store that the image is added to; made if there is none"},
	}, imageParams, scanParams, compressionParams, protectionParams, accessParams),
	gives: "an image: .id, .digest, .names",
	example: `image = commit(ctr, "localhost/example-commit")
print(image.names, image.digest)
remove(image)`,
	more: []string{
		`path("notice.txt").write("free software\n")
commit(ctr, "localhost/example-edited", config = {"User": "app"}, change = ["ENV LANG=C.UTF-8", 'CMD ["/bin/sh", "-l"]'],
    unsetenv = ["HOME"], annotation = {"org.opencontainers.image.title": "example"}, unsetannotation = ["old"],
    created_annotation = False, identity_label = False, omit_history = True, add_file = {"/usr/share/notice.txt": "notice.txt"})`,
		`commit(ctr, "localhost/example-same", source_date_epoch = 1700000000, rewrite_timestamp = True)
commit(ctr, "localhost/example-flat", timestamp = 0, squash = True, format = "docker", rm = True, iidfile = "iid",
    metadata_file = "metadata.json", manifest = "localhost/example-list")
print(path("iid").read())`,
		`commit(ctr, "oci-archive:example.tar", compression_format = "zstd", compression_level = 3)`,
		`scanner = commit(ctr, "localhost/example-scanner")
commit(ctr, "localhost/example-scanned", sbom_scanner_image = scanner.names[0], pull = "never",
    sbom_scanner_command = ["sh -c 'ls {ROOTFS}/bin > {OUTPUT}'"], sbom_merge_strategy = "cat",
    sbom_output = "programs.txt", sbom_image_output = "/usr/share/programs.txt")`,
		`commit(ctr, "oci:example-plain", disable_compression = True)
if arg("registry", default = ""):
    to = "docker://" + arg("registry") + "/app:"
    commit(ctr, to + "signed", creds = arg("creds"), tls_verify = True, cert_dir = "certs", retry = 5, retry_delay = "10s",
        sign_by = "jane@example.net", sign_passphrase_file = "passphrase")
    commit(ctr, to + "sigstore", authfile = "auth.json", sign_by_sigstore_private_key = "sigstore.private")
    commit(ctr, to + "encrypted", encryption_key = ["jwe:public.pem"], encrypt_layer = [-1],
        compression_format = "zstd", force_compression = False)`,
		`if arg("syft", default = ""):     # fetches a scanner
    commit(ctr, "localhost/example-packages", sbom = "syft-spdx", sbom_purl_output = "packages.txt",
        sbom_image_purl_output = "/usr/share/packages.txt")
if arg("passphrase", default = ""): # needs mkfs.ext4 to make, and a machine with the hardware to run
    commit(ctr, "localhost/example-confidential", cw = {"type": "snp", "passphrase": arg("passphrase")})`,
	},
	do: doCommit,
}

// scanParams are the options of a scan.
var scanParams = []param{
	{name: "sbom", kind: aString, keyword: true, doc: `scan with a known scanner: "syft", "syft-cyclonedx", "syft-spdx", "trivy", "trivy-cyclonedx" or "trivy-spdx"`},
	{name: "sbom_scanner_image", kind: aString, keyword: true, doc: "scan with this image instead"},
	{name: "sbom_scanner_command", kind: texts, keyword: true, doc: "what is run in it"},
	{name: "sbom_merge_strategy", kind: aString, keyword: true,
		doc: `how the lists of several commands become one: "cat", "merge-cyclonedx-by-component-name-and-version" or "merge-spdx-by-package-name-and-versioninfo"`},
	{name: "sbom_output", kind: aPath, keyword: true, doc: "host file that receives the list"},
	{name: "sbom_image_output", kind: aString, keyword: true, doc: "path in the image that receives the list"},
	{name: "sbom_purl_output", kind: aPath, keyword: true, doc: "host file that receives the list of package URLs"},
	{name: "sbom_image_purl_output", kind: aString, keyword: true, doc: "path in the image that receives the list of package URLs"},
	{name: "pull", kind: aPolicy, keyword: true, fallback: `"missing"`, doc: "when the scanner's image is fetched, as for from_"},
}

func doCommit(c *call) (_ starlark.Value, err error) {
	o := engine.CommitOptions{Name: c.text("name"), Format: c.format(), Squash: c.flag("squash", false), Remove: c.flag("rm", false),
		Manifest: c.text("manifest")}
	if o.Scan, err = c.scan(); err != nil {
		return nil, err
	}
	if o.IDFile, err = c.source("iidfile"); err != nil {
		return nil, err
	}
	if o.MetadataFile, err = c.source("metadata_file"); err != nil {
		return nil, err
	}
	if o.Compression, err = c.compression(); err != nil {
		return nil, err
	}
	if o.Protection, err = c.protection(); err != nil {
		return nil, err
	}
	if o.Access, err = c.access(); err != nil {
		return nil, err
	}
	if o.Confidential, err = c.confidential(); err != nil {
		return nil, err
	}
	if o.Times, err = c.times(); err != nil {
		return nil, err
	}
	if o.Edits, err = c.edits(); err != nil {
		return nil, err
	}
	if o.AddFiles, err = c.addFiles(); err != nil {
		return nil, err
	}
	image, err := c.container().Commit(c.ctx(), o)
	if err != nil {
		return nil, err
	}
	return &imageValue{image}, nil
}

func (c *call) edits() (e engine.Edits, err error) {
	e = engine.Edits{UnsetAnnotations: c.texts("unsetannotation"), UnsetEnv: c.texts("unsetenv"),
		Changes: c.texts("change"), OmitHistory: c.flag("omit_history", false)}
	if e.Annotations, err = c.lines("annotation"); err != nil {
		return e, err
	}
	e.CreatedAnnotation, e.IdentityLabel = c.choice("created_annotation"), c.choice("identity_label")
	switch v := c.values["config"].(type) {
	case nil:
	case *starlark.Dict:
		text, err := starlark.Call(c.thread, sljson.Module.Members["encode"], starlark.Tuple{v}, nil)
		if err != nil {
			return e, c.wrong("config", "%w", err)
		}
		e.Config = []byte(hostString(text))
	default:
		p := c.place(v)
		files, err := p.files()
		if err != nil {
			return e, err
		}
		if e.Config, err = files.ReadFile(p.name, 4<<20); err != nil {
			return e, c.wrong("config", "%w", err)
		}
	}
	return e, nil
}

// addFiles returns what is added to the image.
func (c *call) addFiles() (map[string]engine.Source, error) {
	added := map[string]engine.Source{}
	add := func(dest string, from starlark.Value) error {
		if dest == "" || hostString(from) == "" {
			return c.wrong("add_file", "names no file")
		}
		if _, twice := added[dest]; twice {
			return c.wrong("add_file", "%s is there twice", dest)
		}
		source, err := c.sourceOf(from)
		added[dest] = source
		return err
	}
	if dict, ok := c.values["add_file"].(*starlark.Dict); ok {
		for _, item := range dict.Items() {
			if err := add(hostString(item[0]), item[1]); err != nil {
				return nil, err
			}
		}
		return added, nil
	}
	for _, text := range c.stringList("add_file") {
		source, dest, named := strings.Cut(text, ":")
		if !named {
			dest = source
		}
		if err := add(dest, starlark.String(source)); err != nil {
			return nil, err
		}
	}
	return added, nil
}

// scan returns what the options of a scan say, or nil if there is none of them.
func (c *call) scan() (_ *engine.Scan, err error) {
	asked := slices.ContainsFunc(scanParams, func(p param) bool { return p.name != "pull" && c.given(p.name) })
	if !asked {
		return nil, nil
	}
	s := &engine.Scan{
		Preset: c.text("sbom"), Image: c.text("sbom_scanner_image"), Commands: c.texts("sbom_scanner_command"),
		Merge: c.text("sbom_merge_strategy"), Pull: c.policy("pull"),
		ImageOutput: c.text("sbom_image_output"), ImagePURLOutput: c.text("sbom_image_purl_output"),
	}
	if s.Output, err = c.source("sbom_output"); err != nil {
		return nil, err
	}
	s.PURLOutput, err = c.source("sbom_purl_output")
	return s, err
}
