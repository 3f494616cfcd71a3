package diagnose

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootfs"
	"github.com/rlbuild/rlbuild/engine/rootless/rootlesstest"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// TestMain runs the suite inside a namespace, where failures are explained.
func TestMain(m *testing.M) {
	rootlesstest.Enter()
	os.Exit(m.Run())
}

// stage is a scene in a root of a few files, for a step of root's with the usual capabilities in the host's network.
func stage(t testing.TB, words ...string) *Scene {
	t.Helper()
	dir := t.TempDir()
	for name, file := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"bin/sh": {"#!/bin/sh2\n", 0o755}, "bin/sh2": {"\x7fELF", 0o755}, "bin/env": {"\x7fELF", 0o755}, "bin/cat": {"\x7fELF", 0o755},
		"app/script": {"#!/usr/bin/python3\n", 0o755}, "app/data": {"x", 0o644}, "app/disk": {"x", 0o644},
		"etc/passwd": {"root:x:0:0::/:/bin/sh\nfar:x:4000000:4000000::/:/bin/sh\n", 0o644}, "etc/group": {"root:x:0:\n", 0o644},
	} {
		at := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(at), 0o755))
		check(t, os.WriteFile(at, []byte(file.text), file.mode))
	}
	files, err := rootfs.Open(dir)
	check(t, err)
	t.Cleanup(func() { files.Close() })
	mapped := []IDRange{{0, 1}, {1, 65536}}
	return &Scene{
		Place: Container, Files: files, HostNetwork: true, UserNS: true, IDs: IDs{mapped, mapped},
		Command: Command{Words: words, Shell: true, Dir: "/app", Env: []string{"PATH=/bin"}},
		User:    User{Capabilities: []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE"}},
	}
}

// The words in which shells and tools say what happened, and what is not said of anything that happened to them.
func TestPrinted(t *testing.T) {
	for _, c := range []struct {
		code int
		line string
		want *trouble.Trouble
	}{
		// shells: busybox, dash, bash, zsh
		{127, "/bin/sh: frob: not found", trouble.NoCommand},
		{127, "/bin/sh: 1: frob: not found", trouble.NoCommand},
		{127, "/bin/bash: line 1: frob: command not found", trouble.NoCommand},
		{127, "bash: frob: command not found", trouble.NoCommand},
		{127, "/bin/sh: line 3: /app/script: not found", trouble.NoInterpreter},
		{127, "/bin/bash: line 1: /app/script: cannot execute: required file not found", trouble.NoInterpreter},
		{127, "/usr/bin/env: 'python9': No such file or directory", trouble.NoCommand},
		{127, "env: can't execute 'python9': No such file or directory", trouble.NoCommand},
		{126, "/bin/sh: 1: /app/data: Permission denied", trouble.NotExecutable},
		{126, "bash: line 1: ./data: Permission denied", trouble.NotExecutable},
		{127, "/bin/sh: cat: not found", nil},
		{1, "/bin/sh: frob: not found", nil}, // a command that isn't the last, or a program's own words
		{127, "library libfrob: not found", nil},
		{1, "cat: /app/none: No such file or directory", nil},
		{2, "ls: cannot access '/app/none': No such file or directory", nil},

		// owners: busybox, coreutils, tar, dpkg, cpio
		{1, "chown: changing ownership of '/app': Invalid argument", nil}, // of nobody in particular
		{2, "tar: app: Cannot change ownership to uid 4000000, gid 0: Invalid argument", trouble.UnmappedID},
		{2, "tar: app: Cannot change ownership to uid 1000, gid 1000: Invalid argument", nil},
		{1, "E: seteuid 4000000 failed - seteuid (22: Invalid argument)", trouble.UnmappedID},
		{1, "E: setgroups 65534 failed - setgroups (1: Operation not permitted)", nil},

		// coreutils, util-linux, kmod, procps, tar
		{1, "mknod: /dev/x: Operation not permitted", trouble.DeviceNode},
		{2, "tar: ./dev/null: Cannot mknod: Operation not permitted", trouble.DeviceNode},
		{1, "mknod: /root/pipe: Permission denied", nil},
		{1, "date: cannot set date: Operation not permitted", trouble.Clock},
		{1, "rm: cannot remove 'date': Operation not permitted", nil},
		{1, "swapon: /app/disk: swapon failed: Operation not permitted", trouble.Swap},
		{1, "modprobe: FATAL: Module dummy not found in directory /lib/modules/6.18.0", trouble.KernelModule},
		{1, "insmod: ERROR: could not insert module /x.ko: Operation not permitted", trouble.KernelModule},
		{255, `sysctl: setting key "vm.swappiness": Read-only file system`, trouble.KernelSetting},
		{255, `sysctl: setting key "vm.frob": Read-only file system`, nil},
		{1, "losetup: cannot find an unused loop device: Permission denied", trouble.LoopDevice},
		{1, "losetup: /app/none: No such file or directory", nil},
		{32, "mount: /mnt: failed to setup loop device for /app/disk.", trouble.LoopDevice},
		{32, "mount: /mnt: permission denied.", trouble.Capability},
		{32, "mount: /mnt: mount point does not exist.", nil},
		{1, "hostname: you must be root to change the host name", trouble.Capability},
		{4, "iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)", trouble.Capability},
		{2, "RTNETLINK answers: Operation not permitted", trouble.Capability},
		{2, "RTNETLINK answers: File exists", nil},
		{1, "chown: changing ownership of '/app': Operation not permitted", nil}, // it has the capability
		{1, "strace: ptrace(PTRACE_TRACEME, ...): Operation not permitted", trouble.Capability},
	} {
		s := stage(t, "make", "install")
		k := s.Printed(c.code, []string{c.line})
		if k == nil && c.want != nil {
			t.Errorf("%s: nothing found, want %s", c.line, c.want.Name)
		} else if k != nil && k.Of != c.want {
			t.Errorf("%s: found %s", c.line, k.Of.Name)
		}
	}
}

// An owner that isn't in the message is looked for in the command.
func TestOwnerOfCommand(t *testing.T) {
	const line = "chown: changing ownership of '/app': Invalid argument"
	for text, want := range map[string]string{
		"70000": "uid 70000", "1:70000": "gid 70000", "far": "uid 4000000", "far:root": "uid 4000000", "--owner=70000": "uid 70000",
		"1000": "", "nobody-here": "", "/70000": "",
	} {
		k := stage(t, "chown", text, "/app").Printed(1, []string{line})
		if got := ""; k != nil {
			if got = k.Facts["id"]; got != want {
				t.Errorf("chown %s: %q, want %q", text, got, want)
			}
		} else if want != "" {
			t.Errorf("chown %s: nothing found", text)
		}
	}
}

func TestDescribeIDs(t *testing.T) {
	for _, c := range []struct {
		ranges []IDRange
		want   string
	}{
		{[]IDRange{{0, 1}}, "0 alone is"},
		{[]IDRange{{0, 1}, {1, 65536}}, "0 to 65536 are"},
		{[]IDRange{{0, 1000}, {2000, 1}, {2001, 10}}, "0 to 999, 2000 to 2010 are"},
	} {
		if got := describeIDs(c.ranges); got != c.want {
			t.Errorf("%v: %q, want %q", c.ranges, got, c.want)
		}
	}
}

// Files that are no ELF files, or hostile ones, are read in bounds.
func TestReadELF(t *testing.T) {
	whole := make([]byte, 64+56+8)
	copy(whole, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(whole[18:], 62)
	binary.LittleEndian.PutUint64(whole[32:], 64)
	binary.LittleEndian.PutUint16(whole[54:], 56)
	binary.LittleEndian.PutUint16(whole[56:], 1)
	binary.LittleEndian.PutUint32(whole[64:], ptInterp)
	binary.LittleEndian.PutUint64(whole[64+8:], 64+56)
	binary.LittleEndian.PutUint64(whole[64+32:], 8)
	copy(whole[64+56:], "/lib/ld\x00")
	if f, ok := readELF(bytes.NewReader(whole)); !ok || f.architecture() != "amd64" || f.loader != "/lib/ld" {
		t.Errorf("got %+v, %v", f, ok)
	}
	for at := range whole {
		for _, value := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			broken := bytes.Clone(whole)
			broken[at] = value
			readELF(bytes.NewReader(broken))
			readELF(bytes.NewReader(broken[:at]))
		}
	}
}

// A program that nothing is wrong with is no reason for anything.
func TestSoundProgram(t *testing.T) {
	s := stage(t)
	for _, name := range []string{"cat", "/bin/cat", "sh", "../bin/cat"} {
		if k := s.program(name, unix.ENOENT); k != nil {
			t.Errorf("%s: %s", name, k.Of.Name)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
