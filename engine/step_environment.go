package engine

import (
	"path"
	"path/filepath"
	"strings"

	"go.podman.io/buildah/util"
	"go.podman.io/common/pkg/config"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// stepEnvironment is the library's (configureEnvironment), with the HOME that an OCI runtime adds.
func (c *Container) stepEnvironment(more []string, hostname, home string) []string {
	path := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	var env []string
	for _, variable := range util.MergeEnv(util.MergeEnv(append(c.proxies(), path...), c.builder.Env()), more) {
		if strings.Contains(variable, "=") {
			env = append(env, variable)
		}
	}
	if value(env, "HOSTNAME") == nil {
		env = append(env, "HOSTNAME="+hostname)
	}
	if at := value(env, "HOME"); at == nil {
		env = append(env, "HOME="+home)
	} else if *at == "HOME=" {
		*at += home
	}
	return env
}

// proxies are the variables that tell of proxies, of rlbuild's own environment.
func (c *Container) proxies() (env []string) {
	if !c.builder.CommonBuildOpts.HTTPProxy {
		return nil
	}
	for _, name := range config.ProxyEnv {
		if at := value(c.run.options.Env, name); at != nil {
			env = append(env, *at)
		}
	}
	return env
}

// value returns where a variable is set, or nil.
func value(env []string, name string) *string {
	for i := range env {
		if strings.HasPrefix(env[i], name+"=") {
			return &env[i]
		}
	}
	return nil
}

// lookPath finds a command that is given by its name alone in the container's PATH. It returns nil if there is none.
func lookPath(files *rootfs.FS, argv, env []string, dir string) []string {
	if strings.Contains(argv[0], "/") {
		return argv
	}
	list := ""
	if at := value(env, "PATH"); at != nil {
		list = strings.TrimPrefix(*at, "PATH=")
	}
	for _, entry := range filepath.SplitList(list) {
		if !path.IsAbs(entry) {
			entry = path.Join(dir, entry)
		}
		candidate := path.Join(entry, argv[0])
		info, err := files.Stat(candidate)
		if err == nil && info.Mode.Type() == 0 && info.Mode&0o111 != 0 {
			return append([]string{candidate}, argv[1:]...)
		}
	}
	return nil
}
