package engine

// Protection says how an image is encrypted and signed when it is written. The zero value does neither.
type Protection struct {
	EncryptionKeys []string // "jwe:FILE", "pgp:RECIPIENT", "pkcs7:FILE" or "provider:NAME"
	EncryptLayers  []int    // which layers; below 0 counts from the last; nil means all

	SignBy         string // fingerprint of a GPG key
	SigstoreKey    string // file with a sigstore private key
	SigstoreParams string // file with sigstore signing parameters
	PassphraseFile string // file with the passphrase of either key
}
