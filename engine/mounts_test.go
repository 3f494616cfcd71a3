package engine

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseVolume(t *testing.T) {
	for text, want := range map[string]VolumeMount{
		"/a:/b":         {Source: "/a", Target: "/b"},
		"a/b:/c":        {Source: "/dir/a/b", Target: "/c"},
		`/a\:b:/c\:d:z`: {Source: "/a:b", Target: "/c:d", Flags: MountFlags{Relabel: "shared"}},
		"/a:/b:ro,U,Z,noexec,dev,rslave": {Source: "/a", Target: "/b",
			Flags: MountFlags{ReadOnly: true, Chown: true, Relabel: "private", NoExec: new(true), NoDev: new(false), Propagation: "rslave"}},
		"/a:/b:O,upperdir=u,workdir=/w": {Source: "/a", Target: "/b", Overlay: true, UpperDir: "/dir/u", WorkDir: "/w"},
		"/a:/b:bind,cached":             {Source: "/a", Target: "/b", Flags: MountFlags{NonRecursive: true}},
	} {
		if got, err := ParseVolume(text, "/dir"); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"/a": "is not SOURCE:TARGET", ":/b": "is not SOURCE:TARGET", "/a:/b:ro:rw": "is not SOURCE:TARGET", "/a:b": "is not absolute",
		"/a:/b:what": "invalid option", "/a:/b:ro,rw": "only specify 1", "/a:/b:upperdir=/u": "belong together",
		"/a:/b:upperdir=/u,workdir=/w": "add the option O", "/a:/b:O,upperdir=/u:/v,workdir=/w": "is not SOURCE:TARGET",
		`/a:/b:O,upperdir=/u\:v,workdir=/w`: "no name with", "/a:/b:idmap": "isn't supported", "/a:/b:idmap=uids=0-1-2": "isn't supported",
		"/a:/b:nocopy": "podman", "/a:/b:no-dereference": "copy it",
	} {
		if _, err := ParseVolume(text, "/dir"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
