package trouble

var registryTroubles = Group{"Registries and the network", []*Trouble{
	Login, Denied, NoImage, NoRepository, NoBlob, TooMany, ServerFails, PlainHTTP, Authority, CertificateName, CertificateTime,
	NotListening, NoSuchHost, Unreachable, Silent, CutOff, Redirects, NoManifest, Damaged, NoDocker, NoAttachments,
}}

var (
	Login = &Trouble{
		Name: "credentials",
		See:  "unauthorized: authentication required (401)",
		Why:  "the registry wants credentials, or refuses the ones it got",
		Cure: "Log in with rlbuild login, or name a file that has them: --authfile; some registries answer like this to a wrong name, too.",
	}
	Denied = &Trouble{
		Name: "denied",
		See:  "denied: requested access to the resource is denied (403)",
		Why:  "the registry denies access",
		Cure: "Check the name, and that your account may do this.",
	}
	NoImage = &Trouble{
		Name: "manifest-unknown",
		See:  "manifest unknown (404)",
		Why:  "the registry has no such image or tag",
		Cure: "Check the name and the tag.",
	}
	NoRepository = &Trouble{
		Name: "name-unknown",
		See:  "name unknown (404)",
		Why:  "the registry has no repository of that name",
		Cure: "Check the name.",
	}
	NoBlob = &Trouble{
		Name: "blob-unknown",
		See:  "blob unknown to registry (404)",
		Why:  "the registry lacks a part of the image that the image's own manifest names",
		Cure: "The image is incomplete there: whoever made it has to push it again.",
	}
	TooMany = &Trouble{
		Name: "too-many-requests",
		See:  "toomanyrequests (429)",
		Why:  "the registry has had too many requests from here",
		Cure: "Wait, or log in for a higher limit.",
	}
	ServerFails = &Trouble{
		Name: "server-fails",
		See:  "received unexpected HTTP status: 503 Service Unavailable",
		Why:  "the registry, or a gateway before it, fails: it answers {status}",
		Cure: "Try again later; retry and retry_delay say how often it is asked again. If it stays so, tell those who run it.",
	}
	PlainHTTP = &Trouble{
		Name: "plain-http",
		See:  "server gave HTTP response to HTTPS client",
		Why:  "the registry speaks plain HTTP, and HTTPS is required",
		Cure: "If you trust the network to it: --tls-verify=false",
	}
	Authority = &Trouble{
		Name: "tls-authority",
		See:  "x509: certificate signed by unknown authority",
		Why:  "the registry's certificate is signed by an authority that this machine doesn't know",
		Cure: "Name the directory with the registry's authority: --cert-dir; or, if you trust the network, --tls-verify=false",
	}
	CertificateName = &Trouble{
		Name: "tls-name",
		See:  "x509: certificate is valid for example.com, not registry.example.com",
		Why:  "the registry's certificate isn't for {host}, but for {names}",
		Cure: "Reach the registry by a name that its certificate has; or, if you trust the network, --tls-verify=false",
	}
	CertificateTime = &Trouble{
		Name: "tls-time",
		See:  "x509: certificate has expired or is not yet valid",
		Why:  "the registry's certificate is valid from {from} to {to}, and today is {today}",
		Cure: "See that this machine's clock is right; else the registry needs a new certificate. If you trust the network: --tls-verify=false",
	}
	NotListening = &Trouble{
		Name: "connection-refused",
		See:  "dial tcp: connection refused",
		Why:  "nothing listens at {address}",
		Cure: "Check the registry's address and port, and that it is running.",
	}
	NoSuchHost = &Trouble{
		Name: "no-such-host",
		See:  "dial tcp: lookup: no such host",
		Why:  "the name {host} can't be resolved ({detail})",
		Cure: "Check the registry's name and this machine's network.",
	}
	Unreachable = &Trouble{
		Name: "unreachable",
		See:  "dial tcp: i/o timeout; no route to host; network is unreachable",
		Why:  "{address} can't be reached from here: {detail}",
		Cure: "Check this machine's network, its firewall, and whether it needs a proxy: HTTPS_PROXY",
	}
	Silent = &Trouble{
		Name: "silent",
		See:  "nothing, for ever",
		Why:  "no byte moved to or from {address} for {time}: {detail}",
		Cure: "Try again later, and see whether a proxy or a firewall is on the way; retry and retry_delay say how often that is done by itself. " +
			"If the registry needs longer: --registry-timeout",
	}
	CutOff = &Trouble{
		Name: "connection-cut",
		See:  "unexpected EOF; connection reset by peer",
		Why:  "the connection to the registry broke off",
		Cure: "Try again; retry and retry_delay say how often that is done by itself.",
	}
	Redirects = &Trouble{
		Name: "redirects",
		See:  "stopped after 10 redirects",
		Why:  "the registry sends requests round in a circle",
		Cure: "Check the registry's name, and tell those who run it.",
	}
	NoManifest = &Trouble{
		Name: "no-manifest",
		See:  "invalid character '<' looking for beginning of value",
		Why:  "what was answered for the image is no manifest",
		Cure: "Check the registry's name: a proxy, or the login page of a network, may have answered in its place.",
	}
	Damaged = &Trouble{
		Name: "wrong-digest",
		See:  "Digest did not match, expected sha256:…, got sha256:…",
		Why:  "a part of the image isn't what its digest says: it was changed on the way, or where it lies",
		Cure: "Try again; if it stays so, the image has to be put there again by whoever made it. Nothing of it was used.",
	}
	NoDocker = &Trouble{
		Name: "no-docker-daemon",
		See:  "failed to connect to the docker API",
		Why:  "docker's daemon can't be reached",
		Cure: "See that it runs, and that your user may talk to it; rlbuild needs none, other transports do without.",
	}
	NoAttachments = &Trouble{
		Name: "sigstore-attachments",
		See:  "writing sigstore attachments is disabled by configuration",
		Why:  "registries.d doesn't say that this registry takes sigstore signatures",
		Cure: `Put "use-sigstore-attachments: true" for it into a file in ~/.config/containers/registries.d.`,
	}
)
