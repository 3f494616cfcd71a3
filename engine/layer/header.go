package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// headers returns the entry's header, and the one of a second entry that says that the directory hides the one below. They
// are made as storage makes them (prepareAddFile in pkg/archive), which exports only a part of it.
func (p *pipeline) headers(e *entry) (hdr, opaque *tar.Header, err error) {
	file := path.Join(p.Dir, e.name)
	target := ""
	if e.info.Mode()&os.ModeSymlink != 0 {
		if target, err = os.Readlink(file); err != nil {
			return nil, nil, err
		}
	}
	if hdr, err = archive.FileInfoHeader(e.name, e.info, target); err != nil {
		return nil, nil, err
	}
	if err := addAttributes(hdr, file); err != nil {
		return nil, nil, err
	}
	if e.link != "" {
		hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, e.link, 0
	}
	hdr.ModTime = hdr.ModTime.Truncate(time.Second) // tar would round it, up too
	converter := archive.GetWhiteoutConverter(archive.OverlayWhiteoutFormat, p.Lower)
	opaque, err = converter.ConvertWrite(hdr, file, e.info)
	return hdr, opaque, err
}

// stamp gives headers the times they are to have. Which entries stay out is decided before, by the times that they had.
func (p *pipeline) stamp(headers ...*tar.Header) {
	for _, hdr := range headers {
		if p.Stamp == nil || hdr == nil {
			continue
		}
		at := hdr.ModTime
		if at.IsZero() {
			at = time.Unix(0, 0) // as the stream has it
		}
		hdr.ModTime = p.Stamp(at)
	}
}

// addAttributes adds the extended attributes that layers carry. Listing them is one system call for the many files that
// have none.
func addAttributes(hdr *tar.Header, file string) error {
	names, err := system.Llistxattr(file)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	} else if err != nil {
		return err
	}
	for _, name := range names {
		if !carried(name) {
			continue
		}
		value, err := system.Lgetxattr(file, name)
		if err != nil {
			return err
		}
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords[archive.PaxSchilyXattr+name] = string(value)
	}
	return nil
}

// carried tells whether layers carry the attribute: labels and overlay's own are the machine's business.
func carried(name string) bool {
	return name == "security.capability" || name == "security.ima" ||
		strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// writeHeader writes the blocks of a header. Each header has a writer of its own: nothing in a tar stream depends on what
// came before, and so headers can be made in any order.
func writeHeader(w io.Writer, hdr *tar.Header) error {
	if err := tar.NewWriter(w).WriteHeader(hdr); err != nil {
		return fmt.Errorf("%s: %w", hdr.Name, err)
	}
	return nil
}
