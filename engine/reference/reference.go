// Package reference parses the names that images go by: an image's own name, such as "debian:bookworm" or
// "localhost/app", and a name at a transport, such as "docker://registry/app:1" or "oci-archive:app.tar".
package reference

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	dockerref "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// The transports that the rest of rlbuild treats in a way of their own.
const (
	Registry = "docker"             // "docker://host/name:tag"
	Storage  = "containers-storage" // "containers-storage:name", the user's own store
)

// tarball names the transport of root file systems in tar archives, of which "-" is standard input.
const tarball = "tarball"

// served are the transports that an image can be read from, in the order that help lists them. The library knows one
// more, of an OpenShift that nobody runs any longer (atomic).
var served = []string{Storage, Registry, "oci", "oci-archive", "docker-archive", "dir", "docker-daemon", tarball, "sif"}

// sources are those of them that can't be written to.
var sources = []string{tarball, "sif"}

// Name is a parsed image name.
type Name struct {
	// Transport is one of the served transports, or "" for a plain name, whose meaning is the caller's.
	Transport string
	// Rest is what follows the transport: for Registry and plain names an image name, for Storage a name or an ID, else
	// a path with an optional ":name:tag".
	Rest string
}

// Parse splits and checks an image name. Its errors are of kind Script and say what is wrong with the name.
func Parse(text string) (Name, error) {
	if strings.TrimSpace(text) == "" {
		return Name{}, bad(text, "is empty").WithHint(`name an image, for example "docker.io/library/debian:bookworm".`)
	}
	if transport, rest, found := strings.Cut(text, ":"); found && slices.Contains(served, transport) {
		n := Name{Transport: transport, Rest: rest}
		if rest == "" || rest == "//" {
			return Name{}, bad(text, "names a transport and nothing at it")
		}
		if transport == Storage {
			return n, nil // the store resolves names and IDs
		}
		if transport == Registry && !strings.HasPrefix(rest, "//") {
			return Name{}, bad(text, `lacks "//" after "docker:"`).WithHint("write docker://%s", rest)
		}
		if slices.Contains(sources, transport) {
			return n, nil // the library's parser opens what it names, from its own directory
		}
		if _, err := n.Ref(); err != nil {
			return Name{}, bad(text, "%w", tidy(err))
		}
		n.Rest = strings.TrimPrefix(rest, "//")
		if transport != Registry {
			n.Rest = rest
		}
		return n, nil
	} else if found && strings.HasPrefix(rest, "//") || found && transports.Get(transport) != nil {
		return Name{}, bad(text, "names the transport %q, which rlbuild doesn't serve", transport).
			WithHint("transports are %s.", strings.Join(served, ", "))
	}
	n := Name{Rest: text}
	if _, err := dockerref.ParseNormalizedNamed(text); err != nil && !isID(text) {
		e := bad(text, "%w", tidy(err))
		if lower := strings.ToLower(text); lower != text {
			if _, err := dockerref.ParseNormalizedNamed(lower); err == nil {
				return Name{}, e.WithHint("image names are in lower case: %s", lower)
			}
		}
		return Name{}, e
	}
	return n, nil
}

// Ref returns the library's form of a name at a transport other than Storage; plain names and Storage names need a
// store or a search list to be resolved.
func (n Name) Ref() (types.ImageReference, error) {
	if n.Transport == Registry {
		return alltransports.ParseImageName("docker://" + strings.TrimPrefix(n.Rest, "//"))
	}
	return alltransports.ParseImageName(n.Transport + ":" + n.Rest)
}

// String returns the name as a user writes it.
func (n Name) String() string {
	switch n.Transport {
	case "":
		return n.Rest
	case Registry:
		return "docker://" + n.Rest
	}
	return n.Transport + ":" + n.Rest
}

// Host returns the registry's host and port that the name leads to, or "": for a transport that is no registry, and for
// a plain name that doesn't say.
func (n Name) Host() string {
	if n.Transport != "" && n.Transport != Registry {
		return ""
	}
	first, _, found := strings.Cut(n.Rest, "/")
	if !found || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return ""
	}
	return first
}

// Loopback reports whether the name leads to a registry on this machine's loopback interface.
func (n Name) Loopback() bool {
	host := n.Host()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else if host == "localhost" {
		return false // "localhost/name", without a port, is the store's own name for images that were never pushed
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

func isID(text string) bool {
	if len(text) != 64 {
		return false
	}
	return strings.Trim(text, "0123456789abcdef") == ""
}

// tidy keeps the innermost message: the library repeats the whole name at each level.
func tidy(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func bad(text, format string, args ...any) *failure.Error {
	return failure.New("image name", quoted(text), format, args...)
}

func quoted(text string) string { return `"` + failure.Redact(text) + `"` }

// In returns the name with the path of an archive, layout or directory made absolute, from dir. Names at other
// transports are returned as they are.
func (n Name) In(dir string) Name {
	switch n.Transport {
	case "", Registry, Storage, "docker-daemon":
		return n
	case tarball: // several archives, one on top of the other
		files := strings.Split(n.Rest, ":")
		for i, file := range files {
			if file != "-" && !filepath.IsAbs(file) {
				files[i] = filepath.Join(dir, file)
			}
		}
		n.Rest = strings.Join(files, ":")
		return n
	}
	if !filepath.IsAbs(n.Rest) {
		n.Rest = filepath.Join(dir, n.Rest)
	}
	return n
}

// Path returns the file or directory that a name at a transport leads to, or "" for a name that leads to none.
func (n Name) Path() string {
	switch n.Transport {
	case "dir", "sif":
		return n.Rest
	case "oci", "oci-archive", "docker-archive":
		path, _, _ := strings.Cut(n.Rest, ":")
		return path
	}
	return ""
}

// At returns the name with another file or directory, for one that has a Path.
func (n Name) At(path string) Name {
	n.Rest = path + strings.TrimPrefix(n.Rest, n.Path())
	return n
}

// Writable fails for a name at a transport that images can only be read from.
func (n Name) Writable() error {
	if !slices.Contains(sources, n.Transport) {
		return nil
	}
	return bad(n.String(), "images can be read from %s:, not written there", n.Transport).
		WithHint("write to %s.", strings.Join(slices.DeleteFunc(slices.Clone(served), func(t string) bool {
			return slices.Contains(sources, t)
		}), ", "))
}
