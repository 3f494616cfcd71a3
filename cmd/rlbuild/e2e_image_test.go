package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"
)

// imageCommand is the script command `image ARCHIVE TREE [CONFIG]`: writes an OCI archive whose layers hold what the file TREE lists,
// and whose configuration is CONFIG's JSON. No container tool has a say in what the layers hold, so they can hold anything:
//
//	dir  MODE UID:GID NAME
//	file MODE UID:GID NAME TEXT...
//	link NAME TARGET
//	hard NAME TARGET
//	fifo NAME
//	char NAME MAJOR:MINOR
//	zeros NAME COUNT
//	claims NAME SIZE
//	layer
//
// "layer" starts the next layer. "claims" is a file whose header names
// a size that nothing follows; it ends the layer. Fields are separated by one space; TEXT's "\n" becomes a line's end, and
// a name in double quotes is one of Go's literals.
func imageCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: image ARCHIVE TREE [CONFIG]")
	}
	layers, err := readTree(ts.ReadFile(args[1]))
	ts.Check(err)
	var config v1.ImageConfig
	if len(args) == 3 {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[2])), &config))
	}
	ts.Check(writeArchive(ts.MkAbs(args[0]), config, layers))
}

// entry is one member of a layer.
type entry struct {
	tar.Header
	data   []byte
	claims bool // no data follows, whatever the header says
}

func readTree(text string) ([][]entry, error) {
	layers := [][]entry{nil}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		if line == "layer" {
			layers = append(layers, nil)
			continue
		}
		e, err := readEntry(strings.SplitN(line, " ", 5))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		layers[len(layers)-1] = append(layers[len(layers)-1], e)
	}
	return layers, nil
}

func readEntry(fields []string) (entry, error) {
	for i, field := range fields {
		if text, err := strconv.Unquote(field); err == nil && strings.HasPrefix(field, `"`) {
			fields[i] = text
		}
	}
	if kind := fields[0]; len(fields) == 3 && (kind == "char" || kind == "zeros" || kind == "claims") {
		e := entry{Header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, Name: fields[1]}, claims: kind == "claims"}
		var err error
		if kind == "char" {
			e.Typeflag = tar.TypeChar
			_, err = fmt.Sscanf(fields[2], "%d:%d", &e.Devmajor, &e.Devminor)
		} else if e.Size, err = strconv.ParseInt(fields[2], 10, 64); kind == "zeros" {
			e.data = make([]byte, e.Size)
		}
		return e, err
	}
	links := map[string]byte{"link": tar.TypeSymlink, "hard": tar.TypeLink, "fifo": tar.TypeFifo}
	if kind, ok := links[fields[0]]; ok && len(fields) >= 2 {
		e := entry{Header: tar.Header{Typeflag: kind, Mode: 0o777, Name: fields[1]}}
		if len(fields) > 2 {
			e.Linkname = fields[2]
		}
		return e, nil
	}
	if len(fields) < 4 {
		return entry{}, fmt.Errorf("want a type, a mode, an owner and a name")
	}
	e := entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: fields[3]}}
	var err error
	if e.Mode, err = strconv.ParseInt(fields[1], 8, 64); err != nil {
		return entry{}, err
	}
	if _, err := fmt.Sscanf(fields[2], "%d:%d", &e.Uid, &e.Gid); err != nil {
		return entry{}, err
	}
	if fields[0] == "file" {
		e.Typeflag = tar.TypeReg
		if len(fields) > 4 {
			e.data = []byte(strings.ReplaceAll(fields[4], `\n`, "\n"))
		}
	}
	return e, nil
}

// writeBase writes the base image of the suite: Debian's static busybox with its applets, users root and app, and /tmp.
func writeBase(name string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w: install busybox-static", err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("listing busybox's applets: %w", err)
	}
	layers, err := readTree(`dir 755 0:0 bin
dir 755 0:0 etc
dir 755 0:0 usr
dir 755 0:0 usr/share
dir 755 0:0 home
dir 755 1000:1000 home/app
dir 700 0:0 root
dir 1777 0:0 tmp
file 644 0:0 etc/passwd root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n
file 644 0:0 etc/group root:x:0:\napp:x:1000:\nweb:x:33:app\n
file 644 0:0 etc/os-release ID=busybox\nPRETTY_NAME="busybox"\n
`)
	if err != nil {
		return err
	}
	entries := append(layers[0], entry{
		Header: tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, data: program,
	})
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			entries = append(entries, entry{
				Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777},
			})
		}
	}
	config := v1.ImageConfig{Env: []string{"PATH=/bin"}, Cmd: []string{"/bin/sh"}, WorkingDir: "/"}
	return writeArchive(name, config, [][]entry{entries})
}

// writeArchive writes an OCI image layout with one image as a tar file, which is what the oci-archive transport reads.
func writeArchive(name string, config v1.ImageConfig, layers [][]entry) error {
	blobs := map[digest.Digest][]byte{}
	add := func(mediaType string, data []byte) v1.Descriptor {
		sum := digest.FromBytes(data)
		blobs[sum] = data
		return v1.Descriptor{MediaType: mediaType, Digest: sum, Size: int64(len(data))}
	}
	image := v1.Image{
		Platform: v1.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config:   config,
		RootFS:   v1.RootFS{Type: "layers"},
	}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, entries := range layers {
		layer, err := packLayer(entries)
		if err != nil {
			return err
		}
		descriptor := add(v1.MediaTypeImageLayer, layer)
		manifest.Layers = append(manifest.Layers, descriptor)
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, descriptor.Digest)
		image.History = append(image.History, v1.History{CreatedBy: "image"}) // the library drops one that lacks a layer
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, part := range []struct {
		mediaType string
		value     any
		placed    func(v1.Descriptor)
	}{
		{v1.MediaTypeImageConfig, image, func(d v1.Descriptor) { manifest.Config = d }},
		{v1.MediaTypeImageManifest, &manifest, func(d v1.Descriptor) { index.Manifests = []v1.Descriptor{d} }},
	} {
		data, err := json.Marshal(part.value)
		if err != nil {
			return err
		}
		part.placed(add(part.mediaType, data))
	}
	listing, err := json.Marshal(index)
	if err != nil {
		return err
	}
	files := []entry{
		{Header: tar.Header{Typeflag: tar.TypeDir, Name: "blobs/", Mode: 0o755}},
		{Header: tar.Header{Typeflag: tar.TypeDir, Name: "blobs/sha256/", Mode: 0o755}},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "oci-layout", Mode: 0o644}, data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "index.json", Mode: 0o644}, data: listing},
	}
	for sum, data := range blobs {
		files = append(files, entry{
			Header: tar.Header{Typeflag: tar.TypeReg, Name: "blobs/sha256/" + sum.Encoded(), Mode: 0o644}, data: data,
		})
	}
	// Peers unpack the archive itself with its owners, outside a namespace too: they have to be the caller.
	for i := range files {
		files[i].Uid, files[i].Gid = os.Getuid(), os.Getgid()
	}
	archive, err := packLayer(files)
	if err != nil {
		return err
	}
	return os.WriteFile(name, archive, 0o644)
}

func packLayer(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		if !e.claims {
			e.Size = int64(len(e.data))
		}
		e.ModTime = time.Unix(1700000000, 0)
		if err := w.WriteHeader(&e.Header); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		if e.claims {
			return out.Bytes(), nil
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
