package builtins

import "github.com/rlbuild/rlbuild/engine"

// accessParams are the options of those verbs that may reach registries.
var accessParams = []param{
	{name: "authfile", kind: aPath, keyword: true, doc: "file with registry credentials; that of --authfile, or the user's own"},
	{name: "cert_dir", kind: aPath, keyword: true, doc: "directory with certificates for the registry"},
	{name: "creds", kind: aString, keyword: true, doc: `"user:password" for the registry; it never shows in messages`},
	{name: "tls_verify", kind: aBool, keyword: true,
		doc: "require HTTPS and check certificates; registries on the loopback interface are exempt unless this says otherwise"},
	{name: "retry", kind: anInt, keyword: true, fallback: "3", doc: "how often a registry that fails, or is silent for as long as --registry-timeout, is asked again"},
	{name: "retry_delay", kind: aDuration, keyword: true, fallback: `"2s"`, doc: "how long to wait before that"},
}

// access returns what those options say.
func (c *call) access() (a engine.Access, err error) {
	a.Credentials = c.text("creds")
	if a.AuthFile, err = c.placeOf("authfile"); err != nil {
		return a, err
	}
	if a.CertDir, err = c.placeOf("cert_dir"); err != nil {
		return a, err
	}
	a.TLSVerify = c.choice("tls_verify")
	if c.given("retry") {
		times, err := c.count("retry")
		if err != nil {
			return a, err
		}
		a.Retries = &times
	}
	if c.given("retry_delay") {
		delay, err := c.duration("retry_delay")
		if err != nil {
			return a, err
		}
		a.RetryDelay = &delay
	}
	return a, nil
}
