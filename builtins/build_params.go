package builtins

import (
	"slices"
	"strings"
)

// The kinds that only a build takes.
var (
	settings = kind{"a dict from strings to strings, or to None for what the environment has", isMapping(true)}
	contexts = kind{"a dict from names to directories and images", dictOf(either(isPath, is[*imageValue]))}
	secrets  = oneOrMoreMounts(`secret(…), or strings such as "id=NAME,src=FILE"`)
	agents   = oneOrMoreMounts(`ssh(…), or strings such as "NAME=FILE"`)
	binds    = oneOrMoreMounts("bind(…), cache(…), tmpfs(…), secret(…), ssh(…) or strings such as \"type=tmpfs,target=/x\"")
)

// oneOrMoreMounts takes a mount or a list of mounts.
func oneOrMoreMounts(what string) kind {
	return kind{"a list of " + what + "; or one", either(aMount.takes, listOf(aMount.takes))}
}

// buildSourceParams say what is built.
var buildSourceParams = []param{
	{name: "context", kind: aPath, doc: `the directory that COPY and ADD take files from; a string may also be the URL of an archive or of a git repository ` +
		`("https://host/repo.git#branch:dir"), or "-" for an archive on standard input`},
	{name: "containerfile", kind: paths, keyword: true,
		doc: `file with the instructions, looked for in the context too; a URL, or "-" for standard input; several are joined`},
	{name: "contents", kind: aString, keyword: true, doc: "the instructions themselves, instead of a file"},
	{name: "build_arg", kind: settings, keyword: true, doc: "build arguments; those of build_arg_file are overridden"},
	{name: "build_arg_file", kind: paths, keyword: true, doc: "files with build arguments, a line NAME=VALUE for each"},
	{name: "build_context", kind: contexts, keyword: true,
		doc: `further contexts for FROM and --from: directories, images, or strings: "docker-image://NAME", the URL of an archive`},
	{name: "target", kind: aString, keyword: true, doc: "the stage to build; the last"},
	{name: "from_", kind: anImage, keyword: true, doc: "the image to take in place of the first FROM's"},
	{name: "env", kind: settings, keyword: true, doc: "environment variables of the image, as if the stages began with ENV"},
	{name: "ignorefile", kind: aPath, keyword: true, doc: "patterns of what the context is without, instead of its .containerignore"},
	{name: "cpp_flag", kind: texts, keyword: true, doc: `flags for the C preprocessor, which instructions in a file "….in" go through`},
	{name: "source_policy_file", kind: aPath, keyword: true, doc: "file with BuildKit's rules for which images may be used, and replacements"},
}

// buildImageParams say what the image is like.
var buildImageParams = []param{
	{name: "tag", kind: texts, keyword: true, doc: `the image's names in the store; or one at a transport, "oci-archive:app.tar"`},
	{name: "manifest", kind: aString, keyword: true, doc: "name of a list that the image, or that of each platform, is added to; made if it isn't there"},
	{name: "platform", kind: texts, keyword: true,
		doc: `"os/arch[/variant]" to build for, or several; this machine's. Of several images with one name the last done keeps it`},
	{name: "all_platforms", kind: aBool, keyword: true, fallback: "False", doc: "build for all platforms that the base images have"},
	{name: "os", kind: aString, keyword: true, doc: "operating system to build for"},
	{name: "arch", kind: aString, keyword: true, doc: "architecture to build for"},
	{name: "variant", kind: aString, keyword: true, doc: "variant of the architecture to build for"},
	{name: "os_feature", kind: texts, keyword: true, doc: `features of the operating system that the image needs; "NAME-" takes one away`},
	{name: "os_version", kind: aString, keyword: true, doc: "version of the operating system that the image needs"},
	{name: "pull", kind: aPolicy, keyword: true, fallback: `"missing"`, doc: policyDoc},
	decryptionKey,
	{name: "label", kind: aMapping, keyword: true, doc: "labels of the image"},
	{name: "layer_label", kind: aMapping, keyword: true, doc: "labels of the images that a build with layers makes on the way"},
	{name: "annotation", kind: aMapping, keyword: true, doc: "annotations of the image's manifest; oci only"},
	{name: "inherit_labels", kind: aBool, keyword: true, fallback: "True", doc: "keep the labels of the base image"},
	{name: "inherit_annotations", kind: aBool, keyword: true, fallback: "True", doc: "keep the annotations of the base image"},
	{name: "unsetlabel", kind: texts, keyword: true, doc: "labels of the base image that the image doesn't get"},
	{name: "unsetannotation", kind: texts, keyword: true, doc: "annotations of the base image that the image doesn't get"},
}

// signingParams are those of protectionParams that a build can do: the library's builder doesn't encrypt.
func signingParams() []param {
	var params []param
	for _, p := range protectionParams {
		if strings.HasPrefix(p.name, "sign_") {
			params = append(params, p)
		}
	}
	return params
}

// buildScanParams are the options of a scan, without pull, which says more here.
func buildScanParams() []param {
	return slices.DeleteFunc(slices.Clone(scanParams), func(p param) bool { return p.name == "pull" })
}

// buildCacheParams say what is taken from earlier builds.
var buildCacheParams = []param{
	layersParam,
	{name: "no_cache", kind: aBool, keyword: true, fallback: "False", doc: "do everything again"},
	{name: "cache_from", kind: texts, keyword: true, doc: "repositories where such images are looked for, without a tag"},
	{name: "cache_to", kind: texts, keyword: true, doc: "repositories that such images are pushed to, without a tag"},
	{name: "cache_ttl", kind: aDuration, keyword: true, doc: "how old an image may be to be taken; 0 for none"},
	{name: "save_stages", kind: aBool, keyword: true, fallback: "False", doc: "keep the images of earlier stages"},
	{name: "stage_labels", kind: aBool, keyword: true, fallback: "False", doc: "label the images of stages with the stage's name and base"},
	{name: "skip_unused_stages", kind: aBool, keyword: true, fallback: "True", doc: "build only what the target needs"},
}

// buildStepParams say how instructions are carried out.
var buildStepParams = []param{
	{name: "secret", kind: secrets, keyword: true,
		doc: `what RUN --mount=type=secret,id=NAME finds: secret(NAME, …), or strings, "id=NAME,src=FILE" or "id=NAME,env=VARIABLE"`},
	{name: "ssh", kind: agents, keyword: true,
		doc: `what RUN --mount=type=ssh,id=NAME finds: ssh(NAME, …), or strings, "default" for your agent or "NAME=FILE"`},
	{name: "mount", kind: binds, keyword: true, doc: `mounts for every RUN: values of bind, cache, tmpfs, secret and ssh, or strings ` +
		`as after RUN --mount=, whose sources are in the context: "type=cache,target=/var/cache"`},
	{name: "volume", kind: texts, keyword: true, doc: `directories of the host for every RUN: "HOST:CONTAINER[:OPTIONS]"`},
	{name: "stdin", kind: aBool, keyword: true, fallback: "False", doc: "RUN reads rlbuild's standard input; it is empty otherwise"},
	{name: "jobs", kind: anInt, keyword: true, fallback: "1", doc: "how many stages are built at a time; 0 for all"},
	{name: "no_hostname", kind: aBool, keyword: true, fallback: "False", doc: "RUN finds the image's own /etc/hostname"},
	{name: "no_hosts", kind: aBool, keyword: true, fallback: "False", doc: "RUN finds the image's own /etc/hosts"},
	{name: "compat_volumes", kind: aBool, keyword: true, fallback: "False", doc: "what RUN changes below a VOLUME is undone"},
	{name: "runtime", kind: aPath, keyword: true, doc: "the OCI runtime, a path or a name in PATH; the one that works"},
	{name: "runtime_flag", kind: texts, keyword: true, doc: `flags for the OCI runtime, without the dashes: "debug"`},
	{name: "hooks_dir", kind: paths, keyword: true, doc: "directories with hooks for the OCI runtime"},
	{name: "rm", kind: aBool, keyword: true, fallback: "True", doc: "remove the containers of a build with layers; False keeps them beyond the script's end"},
	{name: "force_rm", kind: aBool, keyword: true, fallback: "True", doc: "remove them also when the build fails"},
}

// buildFileParams say what is written beside the image.
var buildFileParams = []param{
	{name: "output", kind: paths, keyword: true, doc: `a directory that gets the image's files, or "type=tar,dest=FILE" for an archive of them; or several`},
	{name: "iidfile_raw", kind: aPath, keyword: true, doc: "file that gets the digits of the image's ID"},
	{name: "logfile", kind: aPath, keyword: true, doc: "file that gets what the build prints, instead of the display"},
	{name: "logsplit", kind: aBool, keyword: true, fallback: "False", doc: "a log file for each platform: LOGFILE_OS_ARCH"},
	{name: "quiet", kind: aBool, keyword: true, fallback: "False", doc: "don't show instructions and what they print"},
}
