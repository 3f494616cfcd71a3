package builtins

import "strings"

// The options whose defaults are, as for buildah, those of environment variables.
var (
	historyParam = param{name: "add_history", kind: aBool, keyword: true, fallback: "False",
		doc: "enter this into the image's history; the environment variable BUILDAH_HISTORY=true makes that the default"}
	formatParam = param{name: "format", kind: aString, keyword: true, fallback: `"oci"`,
		doc: `"oci" or "docker"; the environment variable BUILDAH_FORMAT makes either the default`}
	layersParam = param{name: "layers", kind: aBool, keyword: true, fallback: "False",
		doc: "an image for each instruction, which later builds with layers take instead of doing it again; " +
			"the environment variable BUILDAH_LAYERS=true makes that the default"}
)

// history returns what historyParam says.
func (c *call) history() bool { return c.flag(historyParam.name, c.wanted("BUILDAH_HISTORY")) }

// layers returns what layersParam says.
func (c *call) layers() bool { return c.flag(layersParam.name, c.wanted("BUILDAH_LAYERS")) }

// format returns what formatParam says.
func (c *call) format() string {
	if c.given(formatParam.name) {
		return c.text(formatParam.name)
	}
	return c.session.options.Env["BUILDAH_FORMAT"]
}

// wanted reports whether an environment variable turns something on.
func (c *call) wanted(variable string) bool {
	value := strings.ToLower(c.session.options.Env[variable])
	return value == "true" || value == "1"
}
