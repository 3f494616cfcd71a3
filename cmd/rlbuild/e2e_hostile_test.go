package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// hostileMain is a command for the scripts that makes what no tool would:
//
//	hostile layers DIR N            an OCI layout whose image has N layers of one small file each, f0 and so on
//	hostile bomb DIR FORMAT MIB LIE an OCI layout whose image has one layer, a file zeros of so many MiB, compressed with gzip or
//	                                zstd; the manifest adds LIE to the layer's size, and layer.tar.FORMAT beside it is the layer
//	hostile tree DIR N              directories in DIR, N in one another, with names of 200 bytes, and a file in the last one
//	hostile crowd DIR N             N empty files and N hard links to another file in DIR
//	hostile holes FILE MIB          a file that is a hole of so many MiB, and a byte
func hostileMain() {
	made := map[string]func(args []string, n int64) error{
		"layers": func(args []string, n int64) error { return manyLayers(args[0], int(n)) },
		"bomb":   func(args []string, n int64) error { return bomb(args[0], args[1], n<<20, args[3]) },
		"tree":   func(args []string, n int64) error { return deepTree(args[0], int(n)) },
		"crowd":  func(args []string, n int64) error { return crowd(args[0], int(n)) },
		"holes":  func(args []string, n int64) error { return holes(args[0], n<<20) },
	}
	place := map[string]int{"bomb": 4}
	err := fmt.Errorf("usage: hostile KIND PLACE … N")
	if len(os.Args) > 3 && made[os.Args[1]] != nil {
		at := max(place[os.Args[1]], 3)
		var n int64
		if n, err = strconv.ParseInt(os.Args[at], 10, 64); err == nil {
			err = made[os.Args[1]](os.Args[2:], n)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
}

// manyLayers writes an OCI layout with an image of n layers.
func manyLayers(dir string, n int) error {
	l := layout{dir: dir}
	for i := range n {
		layer, err := packLayer([]entry{{Header: tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("f", i), Mode: 0o644}, data: []byte("x")}})
		if err != nil {
			return err
		}
		if err := l.layer(v1.MediaTypeImageLayer, layer, digest.FromBytes(layer), 0); err != nil {
			return err
		}
	}
	return l.finish()
}

// bomb writes an OCI layout with an image of one layer that holds size bytes of zeros.
func bomb(dir, format string, size int64, lie string) error {
	added, err := strconv.ParseInt(lie, 10, 64)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	var to io.WriteCloser
	mediaType := v1.MediaTypeImageLayerGzip
	switch format {
	case "gzip":
		to = gzip.NewWriter(&packed)
	case "zstd":
		mediaType = v1.MediaTypeImageLayerZstd
		if to, err = zstd.NewWriter(&packed); err != nil {
			return err
		}
	default:
		return fmt.Errorf("no format %q", format)
	}
	plain := digest.Canonical.Digester()
	w := tar.NewWriter(io.MultiWriter(to, plain.Hash()))
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o644, Size: size}); err != nil {
		return err
	}
	if _, err := io.CopyN(w, zeros{}, size); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := to.Close(); err != nil {
		return err
	}
	l := layout{dir: dir}
	if err := l.layer(mediaType, packed.Bytes(), plain.Digest(), added); err != nil {
		return err
	}
	if err := l.finish(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "layer.tar."+format), packed.Bytes(), 0o644)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// layout is an OCI image layout that is being written.
type layout struct {
	dir      string
	image    v1.Image
	manifest v1.Manifest
}

// blob adds a file.
func (l *layout) blob(mediaType string, data []byte) (v1.Descriptor, error) {
	sum := digest.FromBytes(data)
	name := filepath.Join(l.dir, "blobs", "sha256", sum.Encoded())
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: mediaType, Digest: sum, Size: int64(len(data))}, os.WriteFile(name, data, 0o644)
}

// layer adds a layer of which the manifest says that it is so much larger than it is.
func (l *layout) layer(mediaType string, data []byte, plain digest.Digest, larger int64) error {
	d, err := l.blob(mediaType, data)
	d.Size += larger
	l.manifest.Layers = append(l.manifest.Layers, d)
	l.image.RootFS.DiffIDs = append(l.image.RootFS.DiffIDs, plain)
	l.image.History = append(l.image.History, v1.History{CreatedBy: "hostile"})
	return err
}

// finish writes what names the layers.
func (l *layout) finish() error {
	l.image.Platform, l.image.RootFS.Type = v1.Platform{Architecture: runtime.GOARCH, OS: "linux"}, "layers"
	l.manifest.Versioned, l.manifest.MediaType = specs.Versioned{SchemaVersion: 2}, v1.MediaTypeImageManifest
	config, err := json.Marshal(l.image)
	if err != nil {
		return err
	}
	if l.manifest.Config, err = l.blob(v1.MediaTypeImageConfig, config); err != nil {
		return err
	}
	text, err := json.Marshal(l.manifest)
	if err != nil {
		return err
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: make([]v1.Descriptor, 1)}
	if index.Manifests[0], err = l.blob(v1.MediaTypeImageManifest, text); err != nil {
		return err
	}
	listing, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, "index.json"), listing, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

// deepTree makes directories in one another, one component at a time: no path names the last one.
func deepTree(dir string, n int) error {
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	name := strings.Repeat("d", 200)
	for range n {
		if err := unix.Mkdirat(at, name, 0o755); err != nil {
			return err
		}
		below, err := unix.Openat(at, name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		_ = unix.Close(at)
		at = below
	}
	defer unix.Close(at)
	file, err := unix.Openat(at, "bottom", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(file)
}

// crowd makes many files and many links to one file.
func crowd(dir string, n int) error {
	at := func(kind string, i int) string { return filepath.Join(dir, fmt.Sprint(kind, i)) }
	if err := os.WriteFile(at("link", 0), []byte("shared"), 0o644); err != nil {
		return err
	}
	for i := range n {
		if err := os.WriteFile(at("file", i), nil, 0o644); err != nil {
			return err
		}
		if err := os.Link(at("link", 0), at("link", i+1)); err != nil {
			return err
		}
	}
	return nil
}

// holes makes a file that takes no room but for its last byte.
func holes(name string, size int64) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt([]byte("x"), size)
	return err
}
