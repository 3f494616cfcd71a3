package engine

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/openshift/imagebuilder"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"
)

// loopbackRegistry matches the names of registries on the loopback interface, as reference.Name.Loopback tells them.
var loopbackRegistry = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:^|[^\w.:-])(localhost:\d+|(?:127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?)`)
})

// system is the context of all images that the build reads and writes. What systemFor sets for one image on the loopback
// interface would count for all of them here, so those registries are named in a registries.conf.d of the build's own. Where
// the user's own files say something about such a registry, that counts.
func (b *build) system() (*types.SystemContext, error) {
	sys, err := b.run.systemWith(b.options.Access)
	if err != nil || b.options.Access.TLSVerify != nil || b.run.options.Registries.TLSVerify != nil {
		return sys, err
	}
	var entries strings.Builder
	for _, registry := range b.loopbackRegistries() {
		known, err := sysregistriesv2.FindRegistry(sys, registry)
		if err != nil {
			return nil, err
		}
		if known == nil {
			fmt.Fprintf(&entries, "[[registry]]\nlocation = %q\ninsecure = true\n", registry)
		}
	}
	if entries.Len() == 0 {
		return sys, nil
	}
	return sys, b.addRegistries(sys, entries.String())
}

// loopbackRegistries lists the registries on the loopback interface that the build's instructions and options mention.
func (b *build) loopbackRegistries() []string {
	o := &b.options
	texts := slices.Concat([]string{o.Source.From}, o.Image.Tags, o.Cache.From, o.Cache.To)
	for _, extra := range o.Source.Contexts {
		texts = append(texts, extra.Text)
	}
	if o.Image.Scan != nil {
		texts = append(texts, o.Image.Scan.Image)
	}
	var args []string
	for name, value := range b.library.Args {
		args = append(args, name+"="+value)
		texts = append(texts, value)
	}
	for _, file := range slices.Concat(b.containerfiles, []string{o.Source.Policy}) {
		if text, err := os.ReadFile(file); err == nil {
			texts = append(texts, string(text))
		}
	}
	texts = append(texts, b.expanded(args)...)
	var found []string
	for _, text := range texts {
		for _, match := range loopbackRegistry().FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// expanded lists the words of instructions that build arguments are part of, with these.
func (b *build) expanded(args []string) (words []string) {
	for _, file := range b.containerfiles {
		nodes, _ := instructions(file)
		for _, node := range nodes {
			for next := node.Next; next != nil; next = next.Next {
				if node.Value == "arg" {
					args = append(args, next.Value) // of those with one name the first counts
				}
			}
			for _, word := range strings.Fields(instruction(node)) {
				if !strings.Contains(word, "$") {
					continue
				}
				if word, err := imagebuilder.ProcessWord(word, args); err == nil {
					words = append(words, word)
				}
			}
		}
	}
	return words
}

// addRegistries has a context read the files about registries that it would read anyway, and these entries.
func (b *build) addRegistries(sys *types.SystemContext, entries string) error {
	dir := b.inDir("registries.conf.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	write := func(name string, text []byte) error { return os.WriteFile(filepath.Join(dir, name), text, 0o600) }
	n := 0
	// As the library does. The order of the copies' names is the order in which the files count.
	for item, err := range configfile.Read(&configfile.File{
		Name: "registries", Extension: "conf", EnvironmentName: "CONTAINERS_REGISTRIES_CONF", UserId: unshare.GetRootlessUID(),
		CustomConfigFilePath: sys.SystemRegistriesConfPath, CustomConfigFileDropInDirectory: sys.SystemRegistriesConfDirPath,
	}) {
		if err != nil {
			return fmt.Errorf("reading what is known of registries: %w", err)
		}
		text, err := io.ReadAll(item.Reader)
		if err != nil {
			return fmt.Errorf("reading %s: %w", item.Name, err)
		}
		if err := write(fmt.Sprintf("%06d.conf", n), text); err != nil {
			return err
		}
		n++
	}
	if err := write("loopback.conf", []byte(entries)); err != nil {
		return err
	}
	sys.SystemRegistriesConfPath, sys.SystemRegistriesConfDirPath = os.DevNull, dir
	return nil
}
