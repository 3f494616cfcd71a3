package engine

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"go.podman.io/buildah/define"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// BuildMount is something that every RUN finds in its root.
type BuildMount struct {
	Mount Mount  // nil for Text
	Text  string // as the library reads what follows RUN --mount=
}

// translateMounts says in the library's words what RUN finds.
func (b *build) translateMounts() error {
	o, l := &b.options.Steps, &b.library
	for _, secret := range o.Secrets {
		if err := b.addSecret(secret.ID, secret); err != nil {
			return err
		}
	}
	for _, agent := range o.SSH {
		if err := b.addAgent(agent.ID, agent); err != nil {
			return err
		}
	}
	for i, mount := range o.Mounts {
		text := mount.Text
		if mount.Mount != nil {
			m := &buildMount{build: b, name: "rlbuild-mount-" + strconv.Itoa(i)}
			if err := m.say(mount.Mount); err != nil {
				return err
			}
			text = strings.Join(m.words, ",")
		}
		l.TransientRunMounts = append(l.TransientRunMounts, text)
	}
	return nil
}

// addSecret has RUN find a secret by an ID. The library wants a file for it: that is one in memory.
func (b *build) addSecret(id string, s *SecretMount) error {
	content, err := s.content()
	if err != nil || content == nil {
		return err
	}
	if strings.Contains(id, ",") {
		return failure.New("build: secret", id, "the library takes no comma in a secret's name")
	}
	if b.memory == "" {
		dir := b.inDir("secrets")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := mountMemory(dir); err != nil {
			return err
		}
		b.memory = dir
	}
	secrets := &b.library.CommonBuildOpts.Secrets
	at := filepath.Join(b.memory, strconv.Itoa(len(*secrets)))
	*secrets = append(*secrets, "id="+id+",src="+at+",type=file")
	return os.WriteFile(at, content, 0o600)
}

// leaveContainers leaves the containers to the user, without the library's copies of secrets.
func (b *build) leaveContainers() error {
	return b.eachContainer(func(id, _ string) error {
		dir, err := b.run.options.Store.ContainerDirectory(id)
		if err != nil {
			return err
		}
		return errors.Join(os.RemoveAll(filepath.Join(dir, "secrets")), b.run.options.Store.Kept(id))
	})
}

// addAgent has RUN find an agent by an ID.
func (b *build) addAgent(id string, s *SSHMount) error {
	if len(s.Sources) == 0 {
		return nil
	}
	paths, err := s.paths()
	if err != nil {
		return err
	}
	for _, at := range paths {
		if strings.Contains(at, ",") || strings.Contains(id, "=") {
			return failure.New("build: ssh", id+"="+at, "the library takes no = in an agent's name, and no comma in a file's")
		}
		if _, err := os.Stat(at); err != nil {
			return s.unusable(err)
		}
	}
	sources := &b.library.CommonBuildOpts.SSHSources
	*sources = append(*sources, id+"="+strings.Join(paths, ","))
	return nil
}

// buildMount is a mount that is said in the library's words.
type buildMount struct {
	build *build
	name  string // of what is made for it
	words []string
}

func (m *buildMount) say(mount Mount) (err error) {
	switch v := mount.(type) {
	case *BindMount:
		m.add("type", "bind")
		m.add("target", v.Target)
		if err = m.from(&v.Source); err == nil {
			err = m.flags(&v.Flags)
		}
	case *CacheMount:
		err = m.cache(v)
	case *TmpfsMount:
		m.add("type", "tmpfs")
		m.add("target", v.Target)
		m.add("tmpfs-size", v.Size)
		if v.Mode != nil {
			m.add("tmpfs-mode", fmt.Sprintf("%04o", *v.Mode))
		}
		m.set("tmpcopyup", v.CopyUp)
		m.set("ro", v.Flags.ReadOnly)
		err = m.restrictions(&v.Flags, true)
	case *SecretMount:
		m.add("type", "secret")
		m.add("id", m.name)
		m.add("target", v.target())
		m.add("env", v.Variable)
		m.owner(v.mode(), v.UID, v.GID)
		err = m.build.addSecret(m.name, v)
	case *SSHMount:
		m.add("type", "ssh")
		m.add("id", m.name)
		m.add("target", v.Target)
		mode := uint32(0o600)
		if v.Mode != nil {
			mode = *v.Mode
		}
		m.owner(mode, v.UID, v.GID)
		err = m.build.addAgent(m.name, v)
	default:
		err = fmt.Errorf("a build can't have a mount that is a %T", mount)
	}
	if err != nil {
		return explain("build: mount", firstOf(mount.target(), "ssh"), err)
	}
	for _, word := range m.words {
		if strings.Contains(word, ",") {
			return failure.New("build: mount", mount.target(), "the library takes no comma in %q", word)
		}
	}
	return nil
}

func (m *buildMount) cache(k *CacheMount) error {
	if k.Sharing == "private" {
		return failure.New("sharing", `"private"`, "the library's builder has no caches of that kind").WithHint(`"locked" has one build wait for the other.`)
	}
	m.add("type", "cache")
	m.add("target", k.Target)
	m.add("id", k.ID)
	m.add("sharing", k.Sharing)
	if k.From == nil {
		m.add("source", k.Source)
	} else {
		place := *k.From
		place.Path = path.Join("/", place.Path, k.Source)
		if err := m.from(&place); err != nil {
			return err
		}
	}
	mode := uint32(0o755)
	if k.Mode != nil {
		mode = *k.Mode
	}
	m.owner(mode, k.UID, k.GID)
	return m.flags(&k.Flags)
}

// from names the source of a mount. For the library its root is a further context.
func (m *buildMount) from(p *Place) error {
	extra, source := define.AdditionalBuildContext{}, p.Path
	if p.Container == nil && p.Image != "" {
		image, err := m.build.run.Image(p.Image)
		if err != nil {
			return err
		}
		extra = define.AdditionalBuildContext{IsImage: true, Value: image.ID}
	} else {
		root := firstOf(p.Root, "/")
		if p.Container != nil {
			mounted, err := p.Container.Mount()
			if err != nil {
				return err
			}
			root = mounted
		}
		var err error
		if extra.Value, source, err = resolved(root, p.Path); err != nil {
			return err
		}
	}
	m.build.library.AdditionalBuildContexts[m.name] = &extra
	m.add("from", m.name)
	m.add("source", source)
	return nil
}

// resolved finds a name below a root: the directory that it leads to, and the name there, which is "/" for that itself.
func resolved(root, name string) (dir, source string, err error) {
	files, err := rootfs.Open(root)
	if err != nil {
		return "", "", err
	}
	defer files.Close()
	if name, err = files.Resolve(name); err != nil {
		return "", "", err
	}
	info, err := files.Stat(name)
	if err != nil {
		return "", "", err
	}
	if info.Mode.IsDir() {
		return filepath.Join(root, name), "/", nil
	}
	return filepath.Join(root, path.Dir(name)), "/" + path.Base(name), nil
}

func (m *buildMount) flags(f *MountFlags) error {
	m.set("ro", f.ReadOnly)
	m.set("rw", !f.ReadOnly)
	m.set("U", f.Chown)
	m.set("z", f.Relabel == "shared")
	m.set("Z", f.Relabel == "private")
	m.set("bind-nonrecursive", f.NonRecursive)
	m.set(f.Propagation, f.Propagation != "")
	return m.restrictions(f, false)
}

// restrictions adds what a mount forbids; implied says that nothing is forbidden otherwise.
func (m *buildMount) restrictions(f *MountFlags, implied bool) error {
	for _, c := range []struct {
		name   string
		wanted *bool
	}{{"nosuid", f.NoSuid}, {"nodev", f.NoDev}, {"noexec", f.NoExec}} {
		switch {
		case c.wanted == nil:
		case *c.wanted:
			m.set(c.name, true)
		case !implied:
			return failure.New(c.name, "False", "the library's builder can't take back what the host forbids").WithHint("leave it out.")
		}
	}
	return nil
}

func (m *buildMount) owner(mode, uid, gid uint32) {
	m.add("mode", fmt.Sprintf("%04o", mode))
	m.add("uid", strconv.FormatUint(uint64(uid), 10))
	m.add("gid", strconv.FormatUint(uint64(gid), 10))
}

// add adds an option that has a value.
func (m *buildMount) add(name, value string) {
	if value != "" {
		m.words = append(m.words, name+"="+value)
	}
}

// set adds an option that has none.
func (m *buildMount) set(name string, wanted bool) {
	if wanted {
		m.words = append(m.words, name)
	}
}
