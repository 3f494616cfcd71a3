package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// machine is where the figures are from.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     int64  `json:"memory_bytes"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"file_system"` // that of the store
	Go         string `json:"go"`
	Buildah    string `json:"buildah"`
	Rlbuild    string `json:"rlbuild"`
}

func (m machine) String() string {
	return fmt.Sprintf("%s and %s, built with %s, on %d cores of %s with %.0f GB of memory, Linux %s. The store is on %s.",
		m.Rlbuild, m.Buildah, m.Go, m.Cores, m.CPU, float64(m.Memory)/1e9, m.Kernel, m.FileSystem)
}

// machine describes this machine; disk is what the caller knows of the file system.
func (b *bench) machine(ctx context.Context, disk string) machine {
	m := machine{
		CPU: field("/proc/cpuinfo", "model name"), Cores: cores, Kernel: textOf("/proc/sys/kernel/osrelease"),
		FileSystem: disk, Go: runtime.Version(),
		Buildah: b.firstLine(ctx, "$buildah", "--version"), Rlbuild: b.firstLine(ctx, "$rlbuild", "version"),
	}
	kilobytes, _, _ := strings.Cut(field("/proc/meminfo", "MemTotal"), " ")
	if size, err := strconv.ParseInt(kilobytes, 10, 64); err == nil {
		m.Memory = size * 1024
	}
	if disk == "" {
		// Whether an ext4 has a journal can't be read by an ordinary user.
		m.FileSystem = b.firstLine(ctx, "findmnt", "--noheadings", "--output=FSTYPE", "--target=$work") + " (journal or none is not known)"
	}
	return m
}

// firstLine returns the first line that a command prints, or why there is none: a fact that is missing spoils no figure.
func (b *bench) firstLine(ctx context.Context, argv ...string) string {
	_, output, err := b.command(ctx, nil, argv...)
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	line, _, _ := strings.Cut(output, "\n")
	return strings.TrimSpace(line)
}

// field returns the value of the first "key: value" line with that key, of a file in /proc.
func field(file, key string) string {
	for line := range strings.Lines(textOf(file)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// textOf returns a file's text, or "unknown".
func textOf(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(data))
}
