package builtins

import (
	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// platformParams are the options of those verbs that choose among a list's images.
var platformParams = []param{
	{name: "platform", kind: aString, keyword: true, doc: `"os/arch[/variant]" of the image that is wanted; this machine's`},
	{name: "os", kind: aString, keyword: true, doc: "the operating system alone; this machine's"},
	{name: "arch", kind: aString, keyword: true, doc: "the architecture alone, as GOARCH; this machine's"},
	{name: "variant", kind: aString, keyword: true, doc: "the architecture's variant alone"},
}

// platform returns what those options say.
func (c *call) platform() engine.Platform {
	return engine.Platform{Name: c.text("platform"), OS: c.text("os"), Arch: c.text("arch"), Variant: c.text("variant")}
}

// decryptionKey names the keys of encrypted images.
var decryptionKey = param{name: "decryption_key", kind: strings_, keyword: true,
	doc: `keys that an encrypted image can be read with: "FILE", "FILE:file=PASSWORDFILE", "FILE:pass=PASSWORD" or "provider:NAME"`}

// aPolicy is the kind of pull policies: buildah's words, and what --pull=true and --pull=false say.
var aPolicy = kind{"a string, True or False", either(isString, is[starlark.Bool])}

const policyDoc = `when the registry is asked: "missing" (not in the store), "always" (or True), "newer" (it has a newer one) or "never" (or False); "ifmissing" and "ifnewer" do too`

// policy returns a pull policy.
func (c *call) policy(name string) string {
	if always, ok := c.values[name].(starlark.Bool); ok {
		if always {
			return "always"
		}
		return "never"
	}
	return c.text(name)
}
