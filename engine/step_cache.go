package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/selinux/go-selinux"
	butil "go.podman.io/buildah/util"
	"go.podman.io/common/pkg/config"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/pkg/lockfile"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
)

const (
	// lockPause is how long to wait before a lock is tried again: a lock that is waited for in the kernel can't be given up.
	lockPause = 50 * time.Millisecond
	// mostPrivate bounds how many steps have a cache of their own under one name.
	mostPrivate = 1000
)

// cacheParent is where a user's caches are, by the library's rule: in the TMPDIR that rlbuild was started with, not in that
// of the run, which is gone when it ends.
func (b *Builder) cacheParent() (string, error) {
	parent := "/var/tmp"
	if at := value(b.options.Env, "TMPDIR"); at != nil {
		parent = strings.TrimPrefix(*at, "TMPDIR=")
	} else if conf, err := config.Default(); err == nil {
		if dir, err := conf.ImageCopyTmpDir(); err == nil && !b.temporary(dir) {
			parent = dir
		}
	}
	parent, err := filepath.Abs(parent)
	return filepath.Join(parent, "buildah-cache-"+strconv.Itoa(unshare.GetRootlessUID())), err
}

func (k *CacheMount) prepare(ctx context.Context, m *stepMounts) error {
	if k.Flags.Relabel == "" && k.From == nil && selinux.EnforceMode() != selinux.Disabled {
		k.Flags.Relabel = "shared"
	}
	files, discard, err := k.open(ctx, m)
	if err != nil {
		return err
	}
	var at string
	if discard {
		at, err = m.writable(files, k.Source)
	} else {
		at, err = m.pinName(files, k.Source, &k.Flags)
	}
	if err != nil {
		return err
	}
	if err := m.apply(at, at, &k.Flags); err != nil {
		return err
	}
	return m.show(at, k.Target, k.Flags.Propagation)
}

// open opens the cache's directory and takes the lock it wants. Images don't change: what is written to one that is used as
// a cache must be discarded.
func (k *CacheMount) open(ctx context.Context, m *stepMounts) (files *rootfs.FS, discard bool, err error) {
	parent, err := m.c.run.cacheParent()
	if err != nil {
		return nil, false, err
	}
	if k.From != nil {
		if files, err = m.tree(k.From); err == nil && k.Sharing == "locked" {
			err = m.lock(ctx, parent, digest.FromString(files.Dir()).Encoded()[:16])
		}
		return files, k.From.Image != "", err
	}
	ids := m.c.builder.IDMappingOptions
	uid, gid, err := butil.GetHostIDs(ids.UIDMap, ids.GIDMap, k.UID, k.GID)
	if err != nil {
		return nil, false, err
	}
	id := k.ID
	if id == "" {
		if id = k.Target; !filepath.IsAbs(id) {
			id = inStep(m.workDir, id)
		}
	}
	// The name is the library's: not one that an ID or a target could lead elsewhere with.
	name := digest.FromString(fmt.Sprintf("%s:%d:%d", id, k.UID, k.GID)).Encoded()[:16]
	if name, err = k.take(ctx, m, parent, name); err != nil {
		return nil, false, err
	}
	mode := uint32(0o755)
	if k.Mode != nil {
		mode = *k.Mode
	}
	dir := filepath.Join(parent, name)
	_, missing := os.Lstat(dir)
	err = errors.Join(os.MkdirAll(parent, 0o755), idtools.MkdirAllAndChownNew(dir, os.FileMode(mode), idtools.IDPair{UID: int(uid), GID: int(gid)}))
	if err == nil && missing != nil {
		err = unix.Chmod(dir, mode) // whatever the umask
	}
	if err != nil {
		return nil, false, fmt.Errorf("making the cache's directory: %w", err)
	}
	if files, err = rootfs.Open(dir); err != nil {
		return nil, false, err
	}
	m.undo = append(m.undo, files.Close)
	return files, false, nil
}

// take takes the lock that the cache's sharing wants, and returns the name of the directory that it goes with.
func (k *CacheMount) take(ctx context.Context, m *stepMounts, parent, name string) (string, error) {
	switch k.Sharing {
	case "locked":
		return name, m.lock(ctx, parent, name)
	case "private":
		for n := range mostPrivate {
			own := name
			if n > 0 {
				own += "-" + strconv.Itoa(n)
			}
			if taken, err := m.tryLock(parent, own); taken || err != nil {
				return own, err
			}
		}
		return "", fmt.Errorf("%d steps have a private cache of this name", mostPrivate)
	}
	return name, nil
}

// lock waits for a cache's lock, which other processes of rlbuild and buildah take as well.
func (m *stepMounts) lock(ctx context.Context, parent, name string) error {
	if m.locked[name] {
		return nil // the step has the same cache at another place
	}
	for said := false; ; {
		if taken, err := m.tryLock(parent, name); taken || err != nil {
			return err
		}
		if !said {
			m.c.run.options.Display.Line("rlbuild: waiting until the step that has the cache locked ends")
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPause):
		}
	}
}

// tryLock takes a cache's lock until release, if nobody has it.
func (m *stepMounts) tryLock(parent, name string) (bool, error) {
	dir := filepath.Join(parent, "buildah-cache-lockfiles", name)
	if err := os.MkdirAll(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, fmt.Errorf("making the cache's lock: %w", err)
	}
	lock, err := lockfile.GetLockFile(filepath.Join(dir, "buildah-cache-lockfile"))
	if err != nil {
		return false, fmt.Errorf("opening the cache's lock: %w", err)
	}
	if lock.TryLock() != nil {
		return false, nil
	}
	m.locked[name] = true
	m.undo = append(m.undo, func() error { lock.Unlock(); return nil })
	return true, nil
}
