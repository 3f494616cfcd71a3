package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"go.podman.io/common/pkg/config"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/signature"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"

	"github.com/rlbuild/rlbuild/engine/checkup"
)

// fileFindings are about the files that say what registries, their images and the credentials for them are like.
func (b *Builder) fileFindings() []checkup.Finding {
	all := b.registriesFindings()
	all = append(all, b.policyFinding(), b.signatureStorageFinding(), containersConfFinding())
	return append(all, b.authFindings()...)
}

// unreadable is the finding for a file that a library can't parse.
func unreadable(area, name string, err error) checkup.Finding {
	e := explain("", "", err)
	return checkup.Finding{Area: area, Name: name, Verdict: checkup.Failed, Found: e.Err.Error(), Cure: e.Hint, Need: checkup.Registries}
}

// registriesFindings are about registries.conf and about short names.
func (b *Builder) registriesFindings() []checkup.Finding {
	conf := checkup.Finding{Area: registryArea, Name: "registries.conf", Verdict: checkup.OK, Found: "none, and none is needed"}
	sysregistriesv2.InvalidateCache() // it remembers failures as well
	if _, err := sysregistriesv2.TryUpdatingCache(b.system); err != nil {
		return []checkup.Finding{unreadable(registryArea, conf.Name, err)}
	}
	if paths := present("registries", "conf", b.options.Registries.Conf, b.options.Registries.ConfDir); len(paths) > 0 {
		conf.Found = strings.Join(paths, ", ")
	}
	names := checkup.Finding{Area: registryArea, Name: "short names", Verdict: checkup.OK}
	list, origin, err := sysregistriesv2.UnqualifiedSearchRegistriesWithOrigin(b.system)
	switch {
	case err != nil:
		names = unreadable(registryArea, names.Name, err)
	case len(list) == 0:
		names.Verdict, names.Found = checkup.Limited, "no registries to look them up in: only those with an alias are found"
		names.Cure = `Write whole names, or put unqualified-search-registries = ["docker.io"] into ~/.config/containers/registries.conf.`
	default:
		names.Found = fmt.Sprintf("looked up in %s (%s)", strings.Join(list, ", "), origin)
	}
	return []checkup.Finding{conf, names}
}

// present returns the files of a configuration that are there, the main one first.
func present(name, extension, file, dir string) (paths []string) {
	search, err := configfile.GetSearchPaths(&configfile.File{
		Name: name, Extension: extension, EnvironmentName: "CONTAINERS_" + strings.ToUpper(name) + "_CONF",
		CustomConfigFilePath: file, CustomConfigFileDropInDirectory: dir, UserId: unshare.GetRootlessUID(),
	})
	if err != nil {
		return nil
	}
	for _, path := range search.MainFiles {
		if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
			break // it hides the others
		}
	}
	for _, dir := range search.DropInDirectories {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // most of them aren't there
		}
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), "."+extension) {
				paths = append(paths, dir+"/"+entry.Name())
			}
		}
	}
	return paths
}

func (b *Builder) policyFinding() checkup.Finding {
	f := checkup.Finding{Area: registryArea, Name: "policy.json", Verdict: checkup.OK, Found: "parses"}
	if paths := present("policy", "json", b.options.Registries.SignaturePolicy, ""); len(paths) > 0 {
		f.Found = paths[0]
	}
	system := *b.system
	system.SignaturePolicyPath = b.options.Registries.SignaturePolicy // not the one that is made where there is none
	switch _, err := signature.DefaultPolicy(&system); {
	case errors.Is(err, configfile.ErrConfigFileNotFound):
		f.Found = "none: images are taken with and without signatures, as distributions' own files have it"
	case err != nil:
		return unreadable(registryArea, f.Name, err)
	}
	return f
}

// signatureStorageFinding is about registries.d, which the library reads for any image.
func (b *Builder) signatureStorageFinding() checkup.Finding {
	f := checkup.Finding{Area: registryArea, Name: "registries.d", Verdict: checkup.OK, Found: "parses, or isn't there"}
	ref, err := docker.ParseReference("//localhost/x")
	if err == nil {
		_, err = docker.SignatureStorageBaseURL(b.system, ref, false)
	}
	if err != nil {
		return unreadable(registryArea, f.Name, err)
	}
	return f
}

func containersConfFinding() checkup.Finding {
	f := checkup.Finding{Area: stepArea, Name: "containers.conf", Verdict: checkup.OK, Found: "none, and none is needed"}
	if _, err := config.Default(); err != nil {
		f = unreadable(stepArea, f.Name, err)
		f.Need = checkup.Always
		return f
	}
	if paths := present("containers", "conf", "", ""); len(paths) > 0 {
		f.Found = strings.Join(paths, ", ")
	}
	return f
}

// authFindings are about the files of credentials that are there.
func (b *Builder) authFindings() (all []checkup.Finding) {
	for _, file := range b.authFiles() {
		content, err := os.ReadFile(file.path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && file.path != b.options.Registries.AuthFile {
			continue // the library passes over it as well
		}
		all = append(all, authFinding(file, content, err))
	}
	if len(all) == 0 {
		all = append(all, checkup.Finding{Area: registryArea, Name: "credentials", Verdict: checkup.OK,
			Found: "none; rlbuild login writes some"})
	}
	return all
}

func authFinding(file authFile, content []byte, err error) checkup.Finding {
	f := checkup.Finding{Area: registryArea, Name: "credentials, " + file.name, Verdict: checkup.OK, Need: checkup.Registries}
	if err == nil {
		err = parseJSON(content)
	}
	var auth authContent
	if err == nil {
		err = json.Unmarshal(content, &auth)
	}
	if err != nil {
		f.Verdict, f.Found, f.Cure = checkup.Failed, file.path+" can't be read: "+err.Error(), "Correct the file, or name another one with --authfile."
		return f
	}
	f.Found = fmt.Sprintf("%s, for %d registries", file.path, len(auth.Auths)+len(auth.CredHelpers))
	if info, err := os.Stat(file.path); err == nil && info.Mode()&0o044 != 0 && len(auth.Auths) > 0 {
		f.Verdict, f.Cure = checkup.Limited, fmt.Sprintf("Close it: chmod 600 %s", file.path)
		f.Found += fmt.Sprintf("; others can read it (mode %04o)", info.Mode().Perm())
	}
	for _, program := range auth.helpers() {
		if _, err := exec.LookPath(program); err != nil {
			f.Verdict, f.Cure = checkup.Limited, "Install it, or take it out of credHelpers." // only its registries need it
			f.Found += fmt.Sprintf("; %s, which keeps some of them, isn't in PATH", program)
		}
	}
	return f
}
