package trouble

var registryTroubles = Group{"Registries and the network", []*Trouble{
	Login, Denied, NoImage, NoRepository, TooMany, PlainHTTP, Authority, NotListening, NoSuchHost, NoDocker, NoAttachments,
}}

var (
	Login = &Trouble{
		Name: "credentials",
		See:  "unauthorized: authentication required (401)",
		Why:  "the registry wants credentials, or refuses the ones it got",
		Cure: "Log in with rlbuild login, or name a file that has them: --authfile",
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
	TooMany = &Trouble{
		Name: "too-many-requests",
		See:  "toomanyrequests (429)",
		Why:  "the registry has had too many requests from here",
		Cure: "Wait, or log in for a higher limit.",
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
		Why:  "{detail}",
		Cure: "Name the directory with the registry's authority: --cert-dir; or, if you trust the network, --tls-verify=false",
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
