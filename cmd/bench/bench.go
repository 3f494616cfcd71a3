package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// bench holds what the rows share: the commands, a directory for everything that is written, and in it one store for
// both sides. newBench makes it; close removes the directory.
type bench struct {
	rlbuild, buildah, scripts string
	self                      string // bench's own binary
	work                      string
	run                       string // directory of the store's run root
	registry                  string // host:port, once a row needed it
	stopRegistry              func() error
	made                      map[string]error // the resources that were made, or why they can't be
	notes                     []string         // what a reader of the table must know
}

// resource is something that rows need and that is made once, for the first of them.
type resource struct {
	name string
	make func(ctx context.Context, b *bench) error
}

// The resources: the two images in the store, the tree that is committed, and a registry on the loopback interface.
var (
	busybox  = resource{"busybox", makeBusybox}
	large    = resource{"large", makeLarge}
	tree     = resource{"tree", makeTree}
	loopback = resource{"loopback", startRegistry}
)

// newBench makes the directory, below TMPDIR, and the configuration of the store in it.
func newBench(rlbuild, buildah, scripts string) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "rlbuild-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{self: self, work: work, made: map[string]error{}, stopRegistry: func() error { return nil }}
	for path, name := range map[*string]string{&b.rlbuild: rlbuild, &b.buildah: buildah, &b.scripts: scripts} {
		if *path, err = filepath.Abs(name); err != nil {
			return nil, errors.Join(err, os.Remove(work))
		}
	}
	// In memory, where users who are logged in have it: below XDG_RUNTIME_DIR.
	if b.run, err = os.MkdirTemp("/dev/shm", "rlbuild-bench-"); err == nil {
		b.notes = append(b.notes, "The run root is on tmpfs, as that of a login session is.")
	} else {
		b.run = work + "/run"
	}
	conf := fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", work+"/store", b.run)
	if err := os.WriteFile(work+"/storage.conf", []byte(conf), 0o600); err != nil {
		return nil, errors.Join(err, os.Remove(work), os.Remove(b.run))
	}
	return b, nil
}

// close stops the registry and removes the directory, inside the namespace, where the store's files have their owners.
func (b *bench) close() error {
	err := b.stopRegistry()
	// The caller's context may have been cancelled already: that is when this matters most.
	_, _, removing := b.command(context.Background(), nil, "$rlbuild", "unshare", "rm", "-rf", "$work", "$run")
	return errors.Join(err, removing)
}

// value is what $NAME stands for in a row's arguments.
func (b *bench) value(name string) string {
	value, ok := map[string]string{
		"rlbuild": b.rlbuild, "buildah": b.buildah, "scripts": b.scripts, "bench": b.self, "work": b.work, "run": b.run,
		"tree": b.work + "/tree", "floor": b.work + "/floor", "registry": b.registry, "cores": strconv.Itoa(cores),
	}[name]
	if !ok {
		panic("a row's arguments hold $" + name) // the table is a literal: a test sees this first
	}
	return value
}

// environ is what every command sees: the shared store, a cache of blobs that isn't the user's own, the peer's path for the
// shell scripts, and the C locale, in which bash writes EPOCHREALTIME with a point.
func (b *bench) environ() []string {
	return append(os.Environ(), "CONTAINERS_STORAGE_CONF="+b.work+"/storage.conf", "XDG_DATA_HOME="+b.work+"/data",
		"BUILDAH="+b.buildah, "LC_ALL=C")
}

// need makes a resource, unless it was made or failed before.
func (b *bench) need(ctx context.Context, r resource) error {
	if err, known := b.made[r.name]; known {
		return err
	}
	err := r.make(ctx, b)
	b.made[r.name] = err
	return err
}

// makeBusybox makes the image of a static busybox, and the directory that the floor's steps have as their root.
func makeBusybox(ctx context.Context, b *bench) error {
	if _, _, err := b.command(ctx, nil, "$buildah", "unshare", "$scripts/image.sh", "busybox"); err != nil {
		return err
	}
	_, _, err := b.command(ctx, nil, "sh", "-c",
		`mkdir -p "$floor/bin" "$floor/proc" && cp "$(command -v busybox)" "$floor/bin/" && ln -s busybox "$floor/bin/true"`)
	return err
}

// makeLarge makes the image of a small Debian. Without a mirror the tree stands in, which a note says.
func makeLarge(ctx context.Context, b *bench) error {
	_, _, err := b.command(ctx, nil, "$buildah", "unshare", "$scripts/image.sh", "large")
	if err == nil || ctx.Err() != nil {
		return err
	}
	b.notes = append(b.notes, fmt.Sprintf("The 170 MB image could not be made, so the 580 MB tree stands in: %v", err))
	if err := b.need(ctx, tree); err != nil {
		return err
	}
	_, _, err = b.command(ctx, nil, "$buildah", "unshare", "$scripts/image.sh", "large", "$tree")
	return err
}

// makeTree writes the tree that is committed.
func makeTree(_ context.Context, b *bench) error {
	return writeTree(b.value("tree"), treeFiles, treeBytes)
}

// startRegistry starts a registry that keeps its blobs on the disk, and waits until it answers.
func startRegistry(ctx context.Context, b *bench) error {
	// The port is free again once the listener is closed; a process that takes it in between makes the registry fail.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return err
	}
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", b.work+"/registry", address)
	if err := os.WriteFile(b.work+"/registry.yml", []byte(conf), 0o600); err != nil {
		return err
	}
	cmd := exec.Command("docker-registry", "serve", b.work+"/registry.yml")
	// It ends with the bench, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	b.stopRegistry = func() error {
		err := cmd.Process.Signal(syscall.SIGTERM)
		<-ended // it ends by the signal
		return err
	}
	for ctx.Err() == nil {
		if conn, err := net.Dial("tcp", address); err == nil {
			b.registry = address
			return conn.Close()
		}
		select {
		case err := <-ended:
			b.stopRegistry = func() error { return nil }
			return fmt.Errorf("the registry ended: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return context.Cause(ctx)
}
