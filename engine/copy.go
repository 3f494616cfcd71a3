package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/sys/userns"
	"go.podman.io/buildah"
	decompress "go.podman.io/image/v5/pkg/compression"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/sandbox"
	"github.com/rlbuild/rlbuild/engine/transfer"
)

// Source is what Copy copies: a path that is resolved below a root, so that no link leads out of it.
type Source struct {
	Root string // "/" for the host's files
	Path string // below Root; may hold wildcards (* ? [])
}

// CopyOptions say what is copied where.
type CopyOptions struct {
	Sources []Source // all below the same root
	Dest    string   // in the container; relative to its working directory; a trailing "/" means a directory
	Chown   string   // "user[:group]", names or numbers, looked up in the container; "" is 0:0 for host files
	Chmod   string   // octal; "" keeps
	Exclude []string // patterns of a .containerignore
	Extract bool     // unpack local archives, as add does
}

// Copy copies files into the container, owners kept if they come from another container. What the copier of package
// transfer doesn't cover the library does, with the same outcome: archives that are to be unpacked, permissions that
// aren't octal, containers with ID maps of their own, and names with a backslash or "**".
func (c *Container) Copy(ctx context.Context, o CopyOptions) error {
	verb := "copy"
	if o.Extract {
		verb = "add"
	}
	if err := c.alive(verb); err != nil {
		return err
	}
	for _, s := range o.Sources {
		if s.Root != o.Sources[0].Root {
			return failure.New(verb, s.Path, "sources lie below different mounts").WithHint("copy from each in its own call.")
		}
	}
	c.run.step(fmt.Sprintf("%s %s to %s", verb, o.Sources[0].Path, o.Dest))
	if err := c.run.tidy(); err != nil {
		return err
	}
	if _, err := c.Mount(); err != nil {
		return err
	}
	err := c.copyOurselves(ctx, o)
	if errors.Is(err, transfer.ErrNotCovered) {
		err = c.copyByLibrary(o)
	}
	if err != nil {
		return explain(verb, fmt.Sprintf("%s to %s", o.Sources[0].Path, o.Dest), err)
	}
	return nil
}

func (c *Container) copyByLibrary(o CopyOptions) error {
	root := o.Sources[0].Root
	paths := make([]string, len(o.Sources))
	for i, s := range o.Sources {
		// Cleaned as an absolute path first, so that ".." ends at the root, as it does for a process in there.
		paths[i] = filepath.Join(root, filepath.Join("/", s.Path))
	}
	defer func() { c.builder.MountPoint = c.root }() // blanked by the library, though our own mount is still held
	return c.builder.Add(o.Dest, o.Extract, buildah.AddAndCopyOptions{
		ContextDir:        root,
		Chown:             o.Chown,
		Chmod:             o.Chmod,
		Excludes:          o.Exclude,
		PreserveOwnership: root != "/",
	}, paths...)
}

// octal is how permissions are nearly always given.
var octal = regexp.MustCompile(`^[0-7]{1,5}$`)

func (c *Container) copyOurselves(ctx context.Context, o CopyOptions) error {
	if o.Chmod != "" && !octal.MatchString(o.Chmod) || len(c.builder.IDMappingOptions.UIDMap) > 0 {
		return transfer.ErrNotCovered
	}
	// Opened anew, and not the run's own: what is mounted or swapped at the root later changes nothing for this copy.
	from, err := rootfs.Open(o.Sources[0].Root)
	if err != nil {
		return err
	}
	defer from.Close()
	t := transfer.Options{
		From: from, To: c.files, Exclude: o.Exclude,
		// As kernels have it: nobody in a user namespace can make a device, whatever the capabilities.
		Devices: !userns.RunningInUserNS(),
	}
	t.Dest, t.Directory = c.destination(o.Dest)
	for _, s := range o.Sources {
		t.Sources = append(t.Sources, path.Join("/", s.Path))
	}
	if o.Sources[0].Root == "/" {
		t.Owner = &transfer.Owner{}
	}
	if o.Chown != "" {
		if t.Owner, err = copyOwner(c.files, o.Chown); err != nil {
			return err
		}
	}
	if o.Chmod != "" {
		bits, err := strconv.ParseUint(o.Chmod, 8, 16)
		if err != nil || bits > 0o7777 {
			return fmt.Errorf("permissions %q are beyond 07777", o.Chmod)
		}
		mode := uint32(bits)
		t.Mode = &mode
	}
	if o.Extract {
		t.Archive = func(name string) bool { return isArchive(from, name) }
	}
	work, err := transfer.New(t)
	if err != nil {
		return err
	}
	return work.Copy(ctx)
}

// destination returns where the path given is in the container, and whether it is written as a directory's.
func (c *Container) destination(dest string) (name string, directory bool) {
	directory = dest == "" || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.")
	workDir := c.builder.WorkDir()
	if !path.IsAbs(dest) {
		dest = path.Join("/"+workDir, dest)
	}
	name = path.Clean(dest)
	return name, directory || name == path.Clean(workDir)
}

// copyOwner returns who "user[:group]" is in the container. As with buildah, a number alone is the group's too.
func copyOwner(files *rootfs.FS, text string) (*transfer.Owner, error) {
	user, group, _ := strings.Cut(text, ":")
	if user == "" && group == "" {
		return nil, fmt.Errorf("chown %q names nobody", text)
	}
	if _, err := strconv.ParseUint(user, 10, 32); err == nil && group == "" {
		text = user + ":" + user
	}
	u, err := sandbox.LookupUser(files, text)
	if err != nil {
		return nil, fmt.Errorf("chown %q: %w", text, err)
	}
	return &transfer.Owner{UID: int(u.UID), GID: int(u.GID)}, nil
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
