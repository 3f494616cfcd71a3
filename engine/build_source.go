package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.podman.io/buildah/define"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reach"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// BuildSource says what is built: instructions, and what they may use.
type BuildSource struct {
	Context        *Source         // directory; nil for URL, or for none at all
	URL            string          // archive or git repository for a context, as buildah takes it; "-" is standard input
	Containerfiles []Containerfile // none means that of the context, unless there is Contents
	Contents       string          // instructions as a text, instead of Containerfiles

	Args       []string                // build arguments, NAME=VALUE; NAME takes the environment's
	ArgFiles   []string                // files of such lines
	Contexts   map[string]ExtraContext // further ones, for FROM and --from
	IgnoreFile string                  // instead of the context's .containerignore
	Target     string                  // stage to build; "" is the last
	From       string                  // instead of the first FROM's image
	Env        []string                // variables of the image, NAME=VALUE; NAME takes the environment's
	CPPFlags   []string                // for Containerfiles whose name ends in ".in"
	Policy     string                  // file with a policy for the images that may be used
}

// Containerfile is one file of instructions.
type Containerfile struct {
	Source        // where it is; looked for in the context if it isn't there
	Name   string // as the script has it; a URL, or "-" for standard input
}

// ExtraContext is a further context: a directory, or what buildah takes for one ("docker-image://NAME", a URL).
type ExtraContext struct {
	Source *Source
	Text   string
}

// maxContainerfile bounds a file of instructions that is fetched or copied, bytes.
const maxContainerfile = 16 << 20

// subject is how messages name what is built, in a run whose directory is dir.
func (s BuildSource) subject(dir string) string {
	switch {
	case len(s.Containerfiles) > 0:
		return s.Containerfiles[0].Name
	case s.Contents != "":
		return "contents"
	case s.URL != "":
		return s.URL
	}
	if below, err := filepath.Rel(dir, s.Context.host()); err == nil && filepath.IsLocal(below) {
		return below
	}
	return s.Context.host()
}

// host is the path as the host has it, links and all.
func (s Source) host() string { return filepath.Join(s.Root, s.Path) }

// Resolve returns where the source is on the host. Below the root of a mount all links are followed inside it.
func (s Source) Resolve() (string, error) {
	if s.Root == "/" {
		return s.host(), nil
	}
	tree, err := rootfs.Open(s.Root)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	name, err := tree.Resolve(s.Path)
	return filepath.Join(s.Root, name), err
}

// isURL tells whether the library fetches a context of that name.
func isURL(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

// sources gets the context and the Containerfiles.
func (b *build) sources(ctx context.Context) error {
	source := b.options.Source
	root, err := b.contextDir(ctx)
	if err != nil {
		if at := source.Context; at != nil && at.Root == "/" {
			if k := pathCause(at.Path, reach.Read|reach.Search, err); k != nil {
				return k.explain("build "+b.subject+":", "context", err)
			}
		}
		return failure.New("build", b.subject, "context: %w", err)
	}
	if source.Contents != "" {
		return b.keep("Containerfile", strings.NewReader(source.Contents))
	}
	if len(source.Containerfiles) == 0 {
		found, err := discover(root)
		if err != nil {
			return failure.New("build", b.subject, "%w", err)
		}
		return b.containerfile(found)
	}
	for _, file := range source.Containerfiles {
		switch {
		case file.Name == "-":
			err = b.keep("Containerfile", os.Stdin)
		case isURL(file.Name):
			if err = b.fetch(ctx, file.Name); silent(err, "") {
				return trouble.Silent.Explain("build", shownURL(file.Name), err, silentWhere(err, ""))
			}
		default:
			at := file.Source
			inContext := Source{Root: root.Root, Path: path.Join(root.Path, file.Name)}
			if !isThere(at) && !filepath.IsAbs(file.Name) && isThere(inContext) {
				at = inContext
			}
			err = b.containerfile(at)
		}
		if err != nil {
			return failure.New("build", file.Name, "%w", err)
		}
	}
	return nil
}

func isThere(s Source) bool {
	at, err := s.Resolve()
	if err != nil {
		return false
	}
	_, err = os.Stat(at)
	return err == nil
}

// contextDir finds the context's directory, and returns it as a source: what is fetched is a tree that no link leads out
// of, as a mount is.
func (b *build) contextDir(ctx context.Context) (Source, error) {
	source := b.options.Source
	switch {
	case source.Context != nil:
		at, err := source.Context.Resolve()
		if err != nil {
			return Source{}, err
		}
		info, err := os.Stat(at)
		if err != nil {
			return Source{}, err
		}
		if !info.IsDir() {
			return Source{}, fmt.Errorf("%s is not a directory", at)
		}
		// As buildah does; for what is below a mount it changes nothing any more.
		b.context, err = filepath.EvalSymlinks(at)
		return *source.Context, err
	case source.URL != "":
		dir, below, err := b.download(ctx, source.URL)
		b.context = filepath.Join(dir, below)
		return Source{Root: b.context, Path: "/"}, err
	}
	b.context = b.inDir("context")
	return Source{Root: b.context, Path: "/"}, os.Mkdir(b.context, 0o700)
}

// download has the library fetch a context.
func (b *build) download(ctx context.Context, url string) (dir, below string, err error) {
	type place struct{ dir, below string }
	fetched, err := stopping(ctx, b.run, func() (place, error) {
		dir, below, err := define.TempDirForURL(b.dir, "fetched-", url)
		return place{dir, below}, err
	})
	return fetched.dir, fetched.below, err
}

// discover finds the Containerfile of a context.
func discover(root Source) (Source, error) {
	for _, name := range []string{"Containerfile", "Dockerfile"} {
		if at := (Source{Root: root.Root, Path: path.Join(root.Path, name)}); isThere(at) {
			return at, nil
		}
	}
	if root.Root == "/" { // a context that can't be read has neither, for a first look
		if k := pathCause(root.Path, reach.Read|reach.Search, fs.ErrPermission); k != nil {
			return Source{}, k.explain("context:", "", nil)
		}
	}
	return Source{}, failure.New("", "", "the context has neither a Containerfile nor a Dockerfile").
		WithHint(`name it: containerfile = "…"; or give the instructions: contents = "…"`)
}

// containerfile adds a file of instructions. One that lies below a mount, or in what was fetched, is copied: the library
// would follow its links, and those of the ignore file beside it, as the host does.
func (b *build) containerfile(at Source) error {
	if at.Root == "/" {
		info, err := os.Stat(at.host())
		if err != nil {
			return err
		}
		if info.IsDir() {
			return errors.New("is a directory")
		}
		if err := isSmall(at.host(), maxContainerfile); err != nil {
			return err
		}
		if !info.Mode().IsRegular() { // a pipe has no end that is known
			file, err := os.Open(at.host())
			if err != nil {
				return err
			}
			defer file.Close()
			return b.keep(path.Base(at.Path), file)
		}
		b.containerfiles = append(b.containerfiles, at.host())
		return nil
	}
	tree, err := rootfs.Open(at.Root)
	if err != nil {
		return err
	}
	defer tree.Close()
	text, err := tree.ReadFile(at.Path, maxContainerfile)
	if err != nil {
		return err
	}
	if b.options.Source.IgnoreFile == "" {
		for _, suffix := range []string{".containerignore", ".dockerignore"} {
			if _, err := tree.Stat(at.Path + suffix); err != nil {
				continue
			}
			if b.options.Source.IgnoreFile, err = (Source{Root: at.Root, Path: at.Path + suffix}).Resolve(); err != nil {
				return err
			}
		}
	}
	return b.keep(path.Base(at.Path), strings.NewReader(string(text)))
}

// fetch adds a file of instructions from a URL.
func (b *build) fetch(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", response.Status)
	}
	return b.keep(path.Base(request.URL.Path), response.Body)
}

// keep adds a file of instructions that has no place of its own on the host. Its name only matters for its ending.
func (b *build) keep(name string, text io.Reader) error {
	if name == "." || name == "/" {
		name = "Containerfile"
	}
	dir, err := os.MkdirTemp(b.dir, "containerfile-")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(file, io.LimitReader(text, maxContainerfile+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if n == 0 {
		return errors.New("is empty")
	} else if n > maxContainerfile {
		return fmt.Errorf("is larger than %d MiB", maxContainerfile>>20)
	}
	b.containerfiles = append(b.containerfiles, file.Name())
	return nil
}
