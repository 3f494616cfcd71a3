package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// file prepares an archive. The library refuses to write a docker-archive where there is something already.
func (p *placing) file() error {
	info, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.Mode().IsRegular(), p.full(info), !writable(p.path):
		return nil
	default:
		p.there = info
	}
	p.beside, p.put = filepath.Dir(p.path), p.putFile
	return nil
}

// full tells whether a file isn't to be written any more.
func (p *placing) full(info fs.FileInfo) bool {
	return p.name.Transport == dockerArchive && info.Size() > 0
}

func (p *placing) putFile(context.Context) error {
	if p.there == nil {
		if err := renameNew(p.temporary, p.path); !errors.Is(err, fs.ErrExist) {
			return err
		} // somebody else was quicker
	}
	old, err := os.Stat(p.path)
	if err != nil {
		return err
	}
	if p.full(old) {
		return errors.New("docker-archive doesn't support modifying existing images") // in the library's words
	}
	made, err := os.Stat(p.temporary)
	if err != nil {
		return err
	}
	if !replaceable(old, made) {
		return p.copyOver()
	}
	if err := os.Chmod(p.temporary, old.Mode().Perm()); err != nil {
		return err
	}
	err = os.Rename(p.temporary, p.path)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) {
		return p.copyOver() // a mount point, as builds in containers have it for their result, can be written but not replaced
	}
	return err
}

// replaceable tells whether nothing of a file is lost but what is in it when another takes its name: its owner, its group, and its
// other names.
func replaceable(old, made fs.FileInfo) bool {
	a, ok := old.Sys().(*syscall.Stat_t)
	b, alsoOK := made.Sys().(*syscall.Stat_t)
	return ok && alsoOK && a.Uid == b.Uid && a.Gid == b.Gid && a.Nlink == 1
}

// copyOver writes the archive into the file that is there.
func (p *placing) copyOver() error {
	from, err := os.Open(p.temporary)
	if err != nil {
		return err
	}
	defer from.Close()
	over, err := os.OpenFile(p.path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(over, from)
	return errors.Join(err, over.Close())
}

// renameNew gives a file or directory another name, and fails with fs.ErrExist if there is something of that name.
func renameNew(old, name string) error {
	err := unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not every file system can
		if err = os.Link(old, name); err == nil {
			return os.Remove(old)
		}
		if errors.Is(err, fs.ErrExist) {
			return err
		}
		if _, err := os.Lstat(name); err == nil {
			return &os.LinkError{Op: "rename", Old: old, New: name, Err: fs.ErrExist}
		}
		return os.Rename(old, name)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: old, New: name, Err: err}
	}
	return nil
}

// syncFile has what is in a file written to the disk.
func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// copiedAtOnce is how much is copied before somebody looks whether it still has to be, bytes.
const copiedAtOnce = 64 << 20

// copyImage moves the contents of one file or directory into another that is there. It copies, so that all gets the owner and
// permissions that new files have there. Links are left out.
func copyImage(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case entry.IsDir() && path == from:
			return nil
		case entry.IsDir():
			return os.Mkdir(target, 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		if err := copyFile(ctx, path, target); err != nil {
			return err
		}
		return os.Remove(path) // there may be no room for two of each
	})
}

// copyFile copies what is in a file.
func copyFile(ctx context.Context, path, target string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	for err == nil {
		if err = ctx.Err(); err == nil {
			_, err = io.CopyN(to, from, copiedAtOnce)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("copying the image to its place: %w", err)
	}
	return nil
}
