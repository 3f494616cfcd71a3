package engine

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/reference"
)

// Files that are kept in memory whole may be a hole of any size, or a few kilobytes that were a bomb.

// mostManifest bounds what describes an image, as the library does where it comes from a registry, bytes.
const mostManifest = 4 << 20

// readSmall returns what a file holds, or an error if that is more than so many bytes.
func readSmall(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(text)) > most {
		return nil, tooLarge(name, most)
	}
	return text, err
}

// isSmall returns an error if a file that the library is going to read is larger than so many bytes. That there is none it is
// left to say itself.
func isSmall(name string, most int64) error {
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() > most {
		return tooLarge(name, most)
	}
	return nil
}

func tooLarge(name string, most int64) error {
	return fmt.Errorf("%s is larger than %d MiB", name, most>>20)
}

// describedSmall returns an error if what describes an image in a directory is larger than the library takes from a registry:
// from there it reads all that there is.
func describedSmall(name reference.Name) error {
	switch name.Transport {
	case "dir":
		for _, pattern := range []string{"version", "*manifest.json", "signature-*"} {
			files, _ := filepath.Glob(filepath.Join(escaped(name.Rest), pattern))
			for _, file := range files {
				if err := isSmall(file, mostManifest); err != nil {
					return failure.New("image name", fmt.Sprintf("%q", name), "%w", err)
				}
			}
		}
	case "oci":
		dir, _, _ := strings.Cut(name.Rest, ":")
		if err := indexSmall(dir, filepath.Join(dir, v1.ImageIndexFile), 2); err != nil {
			return failure.New("image name", fmt.Sprintf("%q", name), "%w", err)
		}
	}
	return nil
}

// indexSmall looks at the index of a layout and at what it lists, indexes again down to so many levels.
func indexSmall(dir, file string, levels int) error {
	if err := isSmall(file, mostManifest); err != nil || levels == 0 {
		return err
	}
	text, err := readSmall(file, mostManifest)
	var index v1.Index
	if err != nil || json.Unmarshal(text, &index) != nil {
		return nil // the library says better what is wrong with it
	}
	for _, listed := range index.Manifests {
		if listed.Digest.Validate() != nil {
			continue
		}
		below := 0
		if slices.Contains([]string{v1.MediaTypeImageIndex, "application/vnd.docker.distribution.manifest.list.v2+json"}, listed.MediaType) {
			below = levels - 1
		}
		if err := indexSmall(dir, blobFile(dir, listed.Digest), below); err != nil {
			return err
		}
	}
	return nil
}

func blobFile(dir string, d digest.Digest) string {
	return filepath.Join(dir, v1.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// ignoresSmall looks at the files of patterns that the library may read: the one named, the context's and those beside the
// files of instructions.
func (b *build) ignoresSmall() error {
	if named := b.options.Source.IgnoreFile; named != "" {
		return isSmall(named, ignoreLimit)
	}
	for _, suffix := range []string{".containerignore", ".dockerignore"} {
		if err := isSmall(filepath.Join(b.context, suffix), ignoreLimit); err != nil {
			return err
		}
		for _, file := range b.containerfiles {
			if err := isSmall(file+suffix, ignoreLimit); err != nil {
				return err
			}
		}
	}
	return nil
}

// escaped is a directory's name as filepath.Glob takes it.
func escaped(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}
