package builtins

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// protectionParams are the options of those verbs that can encrypt and sign what they write.
var protectionParams = []param{
	{name: "encryption_key", kind: texts, keyword: true,
		doc: `encrypt the layers for these keys: "jwe:FILE", "pgp:RECIPIENT", "pkcs7:FILE", "pkcs11:FILE" or "provider:NAME"`},
	{name: "encrypt_layer", kind: kind{"a list of whole numbers", listOf(is[starlark.Int])}, keyword: true,
		doc: "which layers are encrypted, counted from 0, or from the last with -1; all"},
	{name: "sign_by", kind: aString, keyword: true, doc: "sign with the GPG key of this fingerprint"},
	{name: "sign_by_sigstore_private_key", kind: aPath, keyword: true, doc: "sign with the sigstore key in this file"},
	{name: "sign_passphrase_file", kind: aPath, keyword: true, doc: "file with the passphrase of the signing key"},
}

// protection returns what those options say.
func (c *call) protection() (p engine.Protection, err error) {
	for _, key := range c.texts("encryption_key") {
		if key, err = c.encryptionKey(key); err != nil {
			return p, err
		}
		p.EncryptionKeys = append(p.EncryptionKeys, key)
	}
	for _, value := range elements(c.values["encrypt_layer"]) {
		layer, err := starlark.AsInt32(value)
		if err != nil {
			return p, c.wrong("encrypt_layer", "got %s, want the number of a layer", value)
		}
		p.EncryptLayers = append(p.EncryptLayers, layer)
	}
	p.SignBy = c.text("sign_by")
	if p.SigstoreKey, err = c.placeOf("sign_by_sigstore_private_key"); err != nil {
		return p, err
	}
	p.PassphraseFile, err = c.placeOf("sign_passphrase_file")
	return p, err
}

// encryptionKey returns the key with the host's path of its file, if it is in one.
func (c *call) encryptionKey(key string) (string, error) {
	protocol, file, _ := strings.Cut(key, ":")
	if slices.Contains([]string{"jwe", "pkcs7", "pkcs11"}, protocol) && file != "" {
		at, err := c.placed("encryption_key", starlark.String(file))
		return protocol + ":" + at, err
	}
	return key, nil
}
