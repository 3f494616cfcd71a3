package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/rootless"
	"github.com/rlbuild/rlbuild/engine/store"
)

// description is what there is to compare of an image: a line for each thing, by what it is of.
type description map[string]string

// describeMain is a command for the parity suite: `describe` prints the images of the user's store as JSON, by name, each as
// a description. Times in the root file system are in it when RLBUILD_DESCRIBE_TIMES is set.
func describeMain() {
	if err := describe(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "describe:", err)
		os.Exit(1)
	}
	rootless.Stay()
}

func describe(w io.Writer) error {
	if _, err := rootless.Enter(rootless.Options{}); err != nil {
		return err
	}
	opened, err := store.Open(store.Options{})
	if err != nil {
		return err
	}
	defer opened.Close()
	images, err := opened.Images()
	if err != nil {
		return err
	}
	all := map[string]description{}
	for _, image := range images {
		described, err := describeImage(opened, image)
		if err != nil {
			return fmt.Errorf("image %s %v: %w", image.ID, image.Names, err)
		}
		for _, name := range image.Names {
			all[name] = described
		}
	}
	return json.NewEncoder(w).Encode(all)
}

func describeImage(s *store.Store, image storage.Image) (description, error) {
	d := description{}
	data, err := s.ImageBigData(image.ID, storage.ImageDigestBigDataKey)
	if err != nil {
		return nil, err
	}
	var manifest map[string]any
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, err
	}
	if entries, ok := manifest["manifests"].([]any); ok {
		// Digests differ when what they are of has another time in it; the order doesn't matter to anybody.
		sort.Slice(entries, func(i, j int) bool { return platformOf(entries[i]) < platformOf(entries[j]) })
		d.add("list", manifest)
		return d, nil
	}
	d.add("manifest", manifest)
	config, _ := manifest["config"].(map[string]any)
	digest, _ := config["digest"].(string)
	if data, err = s.ImageBigData(image.ID, digest); err != nil {
		return nil, err
	}
	var content any
	if err := json.Unmarshal(data, &content); err != nil {
		return nil, err
	}
	d.add("config", content)
	if image.TopLayer == "" {
		return d, nil
	}
	root, err := s.MountImage(image.ID, nil, "")
	if err != nil {
		return nil, err
	}
	err = d.addTree("root", root, os.Getenv("RLBUILD_DESCRIBE_TIMES") != "")
	if _, unmountErr := s.UnmountImage(image.ID, false); err == nil {
		err = unmountErr
	}
	return d, err
}

func platformOf(entry any) string {
	m, _ := entry.(map[string]any)
	text, _ := json.Marshal([]any{m["platform"], m["annotations"], m["mediaType"]})
	return string(text)
}

// passing are the keys of values that differ from run to run: times, what is computed from them, and random names.
var passing = map[string]bool{"created": true, "digest": true, "size": true, "container": true, "diff_ids": true,
	"org.opencontainers.image.created": true, "Hostname": true}

// add adds a JSON value, an entry for each leaf. Of what is passing it only says that it is there.
func (d description) add(at string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			if list, ok := item.([]any); ok && passing[key] {
				d[at+"."+key] = fmt.Sprintf("%d of them", len(list))
			} else if passing[key] {
				d[at+"."+key] = fmt.Sprintf("a %T", item)
			} else {
				d.add(at+"."+key, item)
			}
		}
		if len(v) == 0 {
			d[at] = "{}"
		}
	case []any:
		for i, item := range v {
			d.add(fmt.Sprintf("%s[%d]", at, i), item)
		}
		if len(v) == 0 {
			d[at] = "[]"
		}
	default:
		text, _ := json.Marshal(v) // came from JSON
		d[at] = string(text)
	}
}

// addTree adds an entry for each file below root: type, mode, owner, size, digest, link target, hard links, extended
// attributes, and the modification time if times is set.
func (d description) addTree(at, root string, times bool) error {
	linked := map[uint64]string{} // the first name of each inode
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		text := []string{entry.Type().String(), strconv.FormatUint(uint64(st.Mode&0o7777), 8), fmt.Sprintf("%d:%d", st.Uid, st.Gid)}
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			sum, err := sumOf(path)
			if err != nil {
				return err
			}
			text = append(text, fmt.Sprint(st.Size), sum)
			if first, ok := linked[st.Ino]; ok {
				text = append(text, "same as "+first)
			} else if st.Nlink > 1 {
				linked[st.Ino] = name
			}
		case syscall.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text = append(text, "-> "+target)
		case syscall.S_IFCHR, syscall.S_IFBLK:
			text = append(text, fmt.Sprintf("device %d", st.Rdev))
		}
		attributes, err := attributesOf(path)
		if err != nil {
			return err
		}
		text = append(text, attributes...)
		if times {
			text = append(text, fmt.Sprintf("modified %d.%09d", st.Mtim.Sec, st.Mtim.Nsec))
		}
		d[at+" "+name] = strings.Join(text, " ")
		return nil
	})
}

func sumOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil)), nil
}

// attributesOf returns a file's extended attributes, sorted, but for the label that the kernel gives.
func attributesOf(path string) ([]string, error) {
	buffer := make([]byte, 64<<10)
	size, err := unix.Llistxattr(path, buffer)
	if err != nil {
		return nil, err
	}
	var attributes []string
	for name := range strings.SplitSeq(strings.TrimRight(string(buffer[:size]), "\x00"), "\x00") {
		if name == "" || name == "security.selinux" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		attributes = append(attributes, fmt.Sprintf("%s=%x", name, value[:n]))
	}
	sort.Strings(attributes)
	return attributes, nil
}

// setxattrMain is a command for the scripts: `setxattr FILE NAME VALUE` sets an extended attribute.
func setxattrMain() {
	if err := unix.Lsetxattr(os.Args[1], os.Args[2], []byte(os.Args[3]), 0); err != nil {
		fmt.Fprintln(os.Stderr, "setxattr:", err)
		os.Exit(1)
	}
	rootless.Stay()
}
