package builtins

import (
	"strings"

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
var decryptionKey = param{name: "decryption_key", kind: texts, keyword: true,
	doc: `keys that an encrypted image can be read with: "FILE", "FILE:file=PASSWORDFILE", "FILE:pass=PASSWORD" or "provider:NAME"`}

// decryptionKeys returns those keys with the host's paths of their files.
func (c *call) decryptionKeys() ([]string, error) {
	keys := c.texts(decryptionKey.name)
	for i, key := range keys {
		if strings.HasPrefix(key, "provider:") {
			continue
		}
		file, password, more := strings.Cut(key, ":")
		at, err := c.placed(decryptionKey.name, starlark.String(file))
		if err != nil {
			return nil, err
		}
		if name, isFile := strings.CutPrefix(password, "file="); isFile {
			if name, err = c.placed(decryptionKey.name, starlark.String(name)); err != nil {
				return nil, err
			}
			password = "file=" + name
		}
		if keys[i] = at; more {
			keys[i] += ":" + password
		}
	}
	return keys, nil
}

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
