package engine

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"go.podman.io/buildah"
	decompress "go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

// copyByLibrary leaves a batch to the library: archives that are to be unpacked, layers of their own (link), parents,
// files with mapped owners, what the history is to name, and names with a backslash or "**".
func (c *Container) copyByLibrary(ctx context.Context, b batch, o CopyOptions) error {
	paths := make([]string, len(b.sources))
	for i, s := range b.sources {
		paths[i] = b.tree.path(s.Path)
	}
	dest, several := o.Dest, len(o.Sources) > 1 // of which the library may see only one
	switch {
	case b.single:
		name, directory := c.destination(o.Dest)
		if info, err := c.files.Stat(name); several || directory || err == nil && info.Mode.IsDir() {
			dest = path.Join(name, b.name)
		}
	case several && dest != "" && !strings.HasSuffix(dest, "/"):
		dest += "/"
	}
	options := buildah.AddAndCopyOptions{
		ContextDir:        b.tree.host,
		Chown:             o.Chown,
		Chmod:             o.Chmod,
		Timestamp:         o.Timestamp,
		PreserveOwnership: b.tree.owned,
		IDMappingOptions:  b.tree.ids,
		Parents:           o.Parents,
		Link:              o.Link,
	}
	if !b.single {
		options.Excludes = o.Exclude
	}
	if o.NoFollow {
		options.FollowSymlink = types.OptionalBoolFalse
	}
	if o.NoWildcards {
		options.AllowWildcard = types.OptionalBoolFalse
	}
	if o.EmptyWildcard {
		options.AllowEmptyWildcard = types.OptionalBoolTrue
	}
	defer func() { c.builder.MountPoint = c.root }() // blanked by the library, though our own mount is still held
	_, err := stopping(ctx, c.run, func() (struct{}, error) {
		return struct{}{}, c.builder.Add(dest, o.Extract && !b.single, options, paths...)
	})
	return err
}

// isArchive tells whether a file is a tar archive, compressed or not, by the library's own test.
func isArchive(files *rootfs.FS, name string) bool {
	parent, base := path.Split(name)
	dir, err := files.OpenDir(parent)
	if err != nil {
		return false
	}
	defer dir.Close()
	file, err := dir.Read(base)
	if err != nil {
		return false
	}
	defer file.Close()
	content, _, err := decompress.AutoDecompress(file)
	if err != nil {
		return false
	}
	defer content.Close()
	_, err = tar.NewReader(content).Next()
	return err == nil
}

// digest tells the library's digester of a file that was copied without it: as an archive of that one file, which is how
// the library passes on what it downloads.
func (c *Container) digest(name string) error {
	info, err := c.files.Lstat(name)
	if err != nil {
		return err
	}
	dir, err := c.files.OpenDir(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	file, err := dir.Read(path.Base(name))
	if err != nil {
		return err
	}
	defer file.Close()
	c.builder.ContentDigester.Start("")
	archive := tar.NewWriter(c.builder.ContentDigester.Hash())
	err = archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Base(name), Size: info.Size, Uid: info.UID,
		Gid: info.GID, Mode: int64(info.Bits()), ModTime: info.ModTime})
	if err != nil {
		return err
	}
	if _, err := io.Copy(archive, file); err != nil {
		return err
	}
	return archive.Close()
}

// noteCopy enters what was digested into the image's history, as buildah words it.
func (c *Container) noteCopy(extract bool) {
	kind, sum := c.builder.ContentDigester.Digest()
	if sum == "" {
		return // nothing was copied
	}
	if kind != "" {
		kind += ":"
	}
	verb := "COPY"
	if extract {
		verb = "ADD"
	}
	now := time.Now().UTC()
	c.builder.AddPrependedEmptyLayer(&now, fmt.Sprintf("/bin/sh -c #(nop) %s %s%s", verb, kind, sum.Encoded()), "", "")
}
