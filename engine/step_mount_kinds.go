package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/transfer"
)

func (b *BindMount) prepare(_ context.Context, m *stepMounts) error {
	files, err := m.tree(&b.Source)
	if err != nil {
		return err
	}
	name, err := files.Resolve(b.Source.Path)
	if err != nil {
		return err
	}
	var at string
	origin := filepath.Join(files.Dir(), name)
	if b.Flags.ReadOnly {
		at, err = m.pinName(files, name, &b.Flags)
	} else {
		at, err = m.writable(files, name)
		origin = at
	}
	if err != nil {
		return err
	}
	if err := m.apply(at, origin, &b.Flags); err != nil {
		return err
	}
	return m.show(at, b.Target, b.Flags.Propagation)
}

func (v *VolumeMount) prepare(_ context.Context, m *stepMounts) error {
	files, err := m.tree(&Place{})
	if err != nil {
		return err
	}
	at, err := m.pinName(files, v.Source, &v.Flags)
	if err != nil {
		return err
	}
	if !v.Overlay {
		if err := m.apply(at, v.Source, &v.Flags); err != nil {
			return err
		}
		return m.show(at, v.Target, v.Flags.Propagation)
	}
	if v.UpperDir == "" {
		at, err = m.writable(files, v.Source)
	} else if at, err = m.overlay(at, v.UpperDir, v.WorkDir); err == nil {
		at, err = m.pinAt(at)
	}
	if err != nil {
		return err
	}
	if err := m.apply(at, at, &v.Flags); err != nil {
		return err
	}
	return m.show(at, v.Target, v.Flags.Propagation)
}

func (t *TmpfsMount) prepare(_ context.Context, m *stepMounts) error {
	at, err := m.place(true)
	if err != nil {
		return err
	}
	mode := uint32(0o1777)
	if t.Mode != nil {
		mode = *t.Mode
	}
	options := fmt.Sprintf("mode=%o", mode)
	if t.Size != "" {
		options += ",size=" + t.Size
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, options); err != nil {
		return os.NewSyscallError("mount", err)
	}
	m.mounted(at)
	if t.CopyUp {
		if err := m.copyUp(inStep(m.workDir, t.Target), at, t.Mode == nil); err != nil {
			return fmt.Errorf("copying to it what the container has there: %w", err)
		}
	}
	if err := m.restrict(at, &t.Flags); err != nil {
		return err
	}
	return m.show(at, t.Target, "")
}

// copyUp copies what a directory of the container holds to a place, and on request its permissions.
func (m *stepMounts) copyUp(name, at string, mode bool) error {
	info, err := m.c.files.Stat(name)
	if err != nil {
		return nil // there is nothing
	}
	to, err := rootfs.Open(at)
	if err != nil {
		return err
	}
	defer to.Close()
	work, err := transfer.New(transfer.Options{From: m.c.files, Sources: []string{name}, To: to, Dest: "/", Directory: true})
	if err != nil {
		return err
	}
	if err := work.Copy(context.Background()); err != nil {
		return err
	}
	if err := os.Lchown(at, info.UID, info.GID); err != nil || !mode {
		return err
	}
	return unix.Chmod(at, info.Bits())
}
