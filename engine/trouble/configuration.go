package trouble

var configurationTroubles = Group{"Configuration files", []*Trouble{
	BadFile, NoCredentialHelper,
}}

var (
	BadFile = &Trouble{
		Name: "bad-configuration",
		See:  "loading registries configuration …: toml: line 3: expected key separator",
		Why:  "{file} can't be read: {detail}",
		Cure: "Correct the file, or {instead}.",
	}
	NoCredentialHelper = &Trouble{
		Name: "credential-helper",
		See:  `exec: "docker-credential-…": executable file not found in $PATH`,
		Why:  "its credentials are kept by the program {helper}, which isn't in PATH",
		Cure: "Install {helper}, take it out of credHelpers in the file of credentials, or name another file: --authfile",
	}
)
