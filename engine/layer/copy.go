package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"path"
	"strings"
	"syscall"

	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// copies makes the files of the layer where it will live, as unpacking the stream would make them (Unpack in pkg/archive of
// storage): what isn't in the stream isn't there either. A nil copies makes none.
type copies struct {
	dir    string
	root   int // descriptor of dir
	linked int // descriptor of the changes if files are linked and not copied, else -1
}

// makeDir makes a directory for what is in it. Its own mode, owner and times come last, in leave.
func (c *copies) makeDir(name string) error {
	return retry(func() error { return unix.Mkdirat(c.root, name, 0o700) })
}

// hide lets a directory hide the one below it.
func (c *copies) hide(name string) error {
	if c == nil {
		return nil
	}
	return unix.Lsetxattr(path.Join(c.dir, name), archive.GetOverlayXattrName("opaque"), []byte("y"), 0)
}

// leave completes a directory when all files below it are there. An omitted one stays only if something in it does.
func (c *copies) leave(name string, dir placed) error {
	if c == nil {
		return nil
	}
	if dir.omit && !dir.opaque {
		err := retry(func() error { return unix.Unlinkat(c.root, name, unix.AT_REMOVEDIR) })
		if err != unix.ENOTEMPTY {
			return err
		}
	}
	return c.dress(name, dir.hdr)
}

// link makes a hard link to a file that came before.
func (c *copies) link(e *entry) error {
	if c == nil || reserved(e.name) {
		return nil
	}
	return retry(func() error { return unix.Linkat(c.root, e.link, c.root, e.name, 0) })
}

// manyNames is how many names a file may have to be given as many more: where file systems bound them, they allow some thousands
// (ext4 65,000), and a copy can have what the original has.
const manyNames = 500

// make makes a file. One with contents that have to be copied it returns open.
func (c *copies) make(e *entry, hdr *tar.Header) (*copied, error) {
	if reserved(hdr.Name) {
		return nil, c.remove(hdr)
	}
	if c.linked >= 0 && hdr.Typeflag != tar.TypeDir && hdr.Typeflag != tar.TypeLink && e.info.Sys().(*syscall.Stat_t).Nlink < manyNames {
		err := retry(func() error { return unix.Linkat(c.linked, e.name, c.root, e.name, 0) })
		if err != unix.EMLINK { // the file has as many names as it can have
			return nil, err
		}
	}
	mode := uint32(hdr.Mode & 0o7777)
	switch hdr.Typeflag {
	case tar.TypeReg:
		fd, err := openat(c.root, e.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode&0o777)
		if err != nil {
			return nil, err
		}
		stat := e.info.Sys().(*syscall.Stat_t)
		return &copied{copies: c, name: e.name, fd: fd, sparse: stat.Blocks*blockSize < stat.Size}, nil
	case tar.TypeSymlink:
		if err := unix.Symlinkat(hdr.Linkname, c.root, e.name); err != nil {
			return nil, err
		}
		return nil, c.dress(e.name, hdr)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		kind := map[byte]uint32{tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}[hdr.Typeflag]
		if kind != unix.S_IFIFO && unshare.IsRootless() {
			return nil, nil // can't be made in a user namespace; the stream has it
		}
		device := unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
		if err := unix.Mknodat(c.root, e.name, kind|mode, int(device)); err != nil {
			return nil, err
		}
		return nil, c.dress(e.name, hdr)
	}
	return nil, nil
}

// remove makes what says that a file of the layers below isn't there any more.
func (c *copies) remove(hdr *tar.Header) error {
	dir, base := path.Split(hdr.Name)
	if base == archive.WhiteoutOpaqueDir {
		return c.hide(dir)
	}
	name := path.Join(dir, strings.TrimPrefix(base, archive.WhiteoutPrefix))
	if err := unix.Mknodat(c.root, name, unix.S_IFCHR, 0); err != nil {
		return err
	}
	return unix.Fchownat(c.root, name, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW)
}

// dress gives a file its owner, mode, times and attributes. The owner comes first: changing it clears set-user-ID bits and
// capabilities.
func (c *copies) dress(name string, hdr *tar.Header) error {
	if err := unix.Fchownat(c.root, name, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if hdr.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(c.root, name, uint32(hdr.Mode&0o7777), 0); err != nil {
			return err
		}
	}
	return c.dressed(name, hdr)
}

// dressed does what follows owner and mode.
func (c *copies) dressed(name string, hdr *tar.Header) error {
	for key, value := range hdr.PAXRecords {
		attribute, is := strings.CutPrefix(key, archive.PaxSchilyXattr)
		if !is {
			continue
		}
		err := unix.Lsetxattr(path.Join(c.dir, name), attribute, []byte(value), 0)
		if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) && unshare.IsRootless() {
			continue // as storage does: the stream has it, this file system or namespace can't
		} else if err != nil {
			return err
		}
	}
	at := unix.Timespec{Sec: hdr.ModTime.Unix()}
	if hdr.Typeflag != tar.TypeSymlink {
		at.Sec = max(0, at.Sec) // as storage has it: only links are older than 1970
	}
	return unix.UtimesNanoAt(c.root, name, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

// copied is the copy of a regular file. A nil one takes writes and drops them.
type copied struct {
	copies *copies
	name   string
	fd     int // -1 when it is closed
	size   int64
	sparse bool // zeros are left out
}

func (f *copied) write(p []byte) error {
	if f == nil {
		return nil
	}
	f.size += int64(len(p))
	if f.sparse && bytes.Equal(p, noBytes[:len(p)]) {
		_, err := unix.Seek(f.fd, f.size, 0)
		return err
	}
	return writeFull(f.fd, p)
}

var noBytes [bufferSize]byte

// finish completes the file. Most files are made with the owner and mode they should have: looking is quicker than setting
// them again.
func (f *copied) finish(hdr *tar.Header) error {
	if f == nil {
		return nil
	}
	if f.sparse {
		if err := unix.Ftruncate(f.fd, f.size); err != nil {
			return err
		}
	}
	var now unix.Stat_t
	if err := unix.Fstat(f.fd, &now); err != nil {
		return err
	}
	if int(now.Uid) != hdr.Uid || int(now.Gid) != hdr.Gid {
		if err := unix.Fchown(f.fd, hdr.Uid, hdr.Gid); err != nil {
			return err
		}
	}
	if mode := uint32(hdr.Mode & 0o7777); now.Mode&0o7777 != mode || mode&0o6000 != 0 {
		if err := unix.Fchmod(f.fd, mode); err != nil {
			return err
		}
	}
	if err := f.copies.dressed(f.name, hdr); err != nil {
		return err
	}
	fd := f.fd
	f.fd = -1
	return unix.Close(fd)
}

// close releases a file that was not finished.
func (f *copied) close() {
	if f != nil && f.fd >= 0 {
		_ = unix.Close(f.fd)
	}
}
