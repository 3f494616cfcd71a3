package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	encryption "github.com/containers/ocicrypt/config"
	"github.com/containers/ocicrypt/helpers"
	"go.podman.io/image/v5/pkg/cli"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/gpg"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// Protection says how an image is encrypted and signed when it is written. The zero value does neither.
type Protection struct {
	EncryptionKeys []string // "jwe:FILE", "pgp:RECIPIENT", "pkcs7:FILE", "pkcs11:FILE" or "provider:NAME"
	EncryptLayers  []int    // which layers; below 0 counts from the last; nil means all

	SignBy         string // fingerprint of a GPG key, or what else gpg knows the key by
	SigstoreKey    string // file with a sigstore private key
	PassphraseFile string // file with the passphrase of the signing key in its first line
}

// protector is a Protection made ready: its keys are read, so that what is wrong with them is said before anything is
// written. Nil protects nothing. Close it.
type protector struct {
	encrypt *encryption.EncryptConfig // nil encrypts nothing
	layers  *[]int                    // the library takes a pointer to no numbers for all layers
	signers []*signer.Signer          // those that the library has: sigstore's
	gpg     *gpg.Key                  // nil without one
}

// protector reads the keys. Transport is where the image goes to.
func (b *Builder) protector(ctx context.Context, p Protection, transport string) (made *protector, err error) {
	if err := p.check(transport); err != nil {
		return nil, err
	}
	made = &protector{}
	defer func() {
		if err != nil {
			made.Close()
		}
	}()
	if made.encrypt, err = p.encryption(); err != nil {
		return nil, err
	}
	if made.encrypt != nil {
		made.layers = &p.EncryptLayers
	}
	passphrase, err := cli.ReadPassphraseFile(p.PassphraseFile)
	if err != nil {
		return nil, failure.New("reading", "the passphrase of the signing key", "%w", err).
			WithHint("sign_passphrase_file is a file with the passphrase in its first line.")
	}
	if p.SigstoreKey != "" {
		made.signers, err = sigstoreSigners(p, passphrase)
	} else if p.SignBy != "" {
		made.gpg, err = gpg.Open(ctx, p.SignBy, passphrase, b.options.Env)
	}
	return made, err
}

// check refuses what can't be had together, or not there.
func (p Protection) check(transport string) error {
	signing := p.SignBy != "" || p.SigstoreKey != ""
	switch {
	case len(p.EncryptionKeys) == 0 && p.EncryptLayers != nil:
		return failure.New("", "encrypt_layer", "says which layers are encrypted, and there is no key for that").
			WithHint(`name one: encryption_key = ["jwe:key.pem"]`)
	case len(p.EncryptionKeys) > 0 && transport == reference.Storage:
		return failure.New("", "encryption_key", "an image in the store can't be encrypted: its layers are unpacked there").
			WithHint("leave it out here, and say it when the image is pushed.")
	case len(p.EncryptionKeys) > 0 && plainOnly(transport):
		return failure.New("", "encryption_key", "the layers of a %s can't be encrypted", transport).
			WithHint("write an oci-archive.")
	case !signing && p.PassphraseFile != "":
		return failure.New("", "sign_passphrase_file", "is given, and no key to sign with").
			WithHint("name the key as well: sign_by, or sign_by_sigstore_private_key.")
	case p.SignBy != "" && p.SigstoreKey != "":
		return failure.New("", "sign_by", "can't be had together with sign_by_sigstore_private_key").
			WithHint("push the image twice, signed once with each.")
	case signing && transport != reference.Registry && transport != reference.Storage:
		return failure.New("signing", "the image", "%s: has no place for signatures, or no name that they could be for", transport).
			WithHint("sign what goes to a registry or into the store.")
	}
	return nil
}

// encryption returns what the keys mean to the library, or nil without any.
func (p Protection) encryption() (*encryption.EncryptConfig, error) {
	if len(p.EncryptionKeys) == 0 {
		return nil, nil
	}
	for _, key := range p.EncryptionKeys {
		protocol, _, _ := strings.Cut(key, ":")
		switch protocol {
		case "jwe", "pkcs7", "pkcs11", "provider":
		case "pgp":
			if _, err := gpg.Find(); err != nil { // the library would leave such keys out without a word
				return nil, err
			}
		default:
			return nil, failure.New("", "encryption_key", `%q names no way to encrypt`, key).
				WithHint(`keys are written "jwe:FILE", "pgp:RECIPIENT", "pkcs7:FILE", "pkcs11:FILE" or "provider:NAME".`)
		}
	}
	config, err := helpers.CreateCryptoConfig(p.EncryptionKeys, nil)
	if err != nil {
		return nil, failure.New("reading", "the keys of encryption_key", "%w", err)
	}
	return config.EncryptConfig, nil
}

// sigstoreSigners returns the library's signer for the key. A key without a passphrase has the empty one.
func sigstoreSigners(p Protection, passphrase string) ([]*signer.Signer, error) {
	made, err := sigstore.NewSigner(sigstore.WithPrivateKeyFile(p.SigstoreKey, []byte(passphrase)))
	if err != nil {
		e := failure.New("reading", "the sigstore key "+p.SigstoreKey, "%w", err)
		if strings.Contains(err.Error(), "decrypt") {
			e.Err = errors.New("the passphrase doesn't open it")
			e.Hint = "sign_passphrase_file is a file with the key's passphrase in its first line."
		}
		return nil, e
	}
	return []*signer.Signer{made}, nil
}

// signs reports whether there is a key to sign with.
func (p *protector) signs() bool { return p != nil && (p.gpg != nil || len(p.signers) > 0) }

// destination is the place with GPG's signatures added to what is written there. Those of the library's own signers the
// copy adds, which needs the place as it is: the library takes nothing but simple signatures through a wrapping.
func (p *protector) destination(ref types.ImageReference) types.ImageReference {
	if p == nil || p.gpg == nil {
		return ref
	}
	return &signing{ImageReference: ref, key: p.gpg}
}

// Close forgets the keys.
func (p *protector) Close() error {
	if p == nil {
		return nil
	}
	var errs []error
	for _, s := range p.signers {
		errs = append(errs, s.Close())
	}
	if p.gpg != nil {
		errs = append(errs, p.gpg.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the signing keys: %w", err)
	}
	return nil
}
