package builtins

import "strings"

// historyParam is the option of those verbs that can enter what they do into the image's history.
var historyParam = param{name: "add_history", kind: aBool, keyword: true, fallback: "False",
	doc: "enter this into the image's history; the environment variable BUILDAH_HISTORY=true makes that the default"}

// history returns what that option says.
func (c *call) history() bool {
	value := strings.ToLower(c.session.options.Env["BUILDAH_HISTORY"])
	return c.flag(historyParam.name, value == "true" || value == "1")
}
