package engine

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRemote(t *testing.T) {
	for text, want := range map[string]struct{ remote, git bool }{
		"http://host/file":                 {true, false},
		"https://host/file.git.tar":        {true, false},
		"https://host/app.git":             {true, true},
		"https://host/app.git#main:dir":    {true, true},
		"https://host/app.git?x=1":         {true, false}, // as buildah has it
		"git://host/app":                   {true, true},
		"ssh://git@host/app":               {true, true},
		"git@host.example:group/app.git":   {true, true},
		"git@host.example:group/app.git#v": {true, true},
		"git+https://host/app":             {true, true},
		"git+file:///srv/app":              {true, true},
		"git+../app#v1:dir":                {true, true},
		"app.git":                          {false, false},
		"app.git#main":                     {false, false},
		"user@host:file":                   {false, false},
		"/etc/http://x":                    {false, false},
		"ftp://host/file":                  {false, false},
	} {
		if Remote(text) != want.remote || isGit(text) != want.git {
			t.Errorf("%s: remote %t, git %t; want %+v", text, Remote(text), isGit(text), want)
		}
	}
}

func TestShownURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://host/a/b":                      "https://host/a/b",
		"https://user:pass@host/a":              "https://host/a",
		"https://token@host:81/a?key=1":         "https://host:81/a",
		"https://us:p@ss@host/a":                "https://host/a",
		"https://us:%zz@host/a":                 "https://host/a",
		"https://us:pass@host?key":              "https://host",
		"https://host/a@b":                      "https://host/a@b",
		"git+https://user:pass@host/a.git#v1:d": "git+https://host/a.git#v1:d",
		"ssh://git@host/a.git":                  "ssh://host/a.git",
		"git@host:a.git":                        "git@host:a.git",
		"git+../a.git#v1":                       "git+../a.git#v1",
	} {
		if got := shownURL(text); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
}

func TestParseGit(t *testing.T) {
	for text, want := range map[string]gitSource{
		"https://host/a.git":                 {repository: "https://host/a.git"},
		"https://host/a.git#main":            {repository: "https://host/a.git", ref: "main"},
		"https://host/a.git#v1:src/cmd":      {repository: "https://host/a.git", ref: "v1", dir: "src/cmd"},
		"https://host/a.git#:src":            {repository: "https://host/a.git", dir: "src"},
		"git+ssh://git@host/a":               {repository: "ssh://git@host/a"},
		"git@host:a.git#v1":                  {repository: "git@host:a.git", ref: "v1"},
		"git+a.git#v1":                       {repository: "/base/a.git", ref: "v1"},
		"git+/srv/a.git":                     {repository: "/srv/a.git"},
		"git+file:///srv/a.git#--upload-x:d": {repository: "file:///srv/a.git", ref: "--upload-x", dir: "d"},
	} {
		if got := parseGit(text, "/base"); got != want {
			t.Errorf("%s is %+v, want %+v", text, got, want)
		}
	}
	got := parseGit("git+https://jane:hunter2@host/a.git#v1", "/base")
	if password, _ := got.user.Password(); got.repository != "https://host/a.git" || password != "hunter2" || got.user.Username() != "jane" {
		t.Errorf("got %+v", got)
	}
}

func TestNameOf(t *testing.T) {
	for text, want := range map[string]string{
		"http://h/a/b.txt": "b.txt", "http://h/a/b/": "b", "http://h/a%2Fb": "b", "http://h/b?x=/y": "b",
		"http://h": "", "http://h/": "", "http://h/..": "", "http://h/a/%2e%2e": "", "http://h/%zz": "",
	} {
		if got := nameOf(text); got != want {
			t.Errorf("%s is called %q, want %q", text, got, want)
		}
		if filepath.Base(want) != want && want != "" {
			t.Errorf("%q is no plain name", want)
		}
	}
}

// TestGitCredentials: what is in a URL reaches git by its environment alone, and never a file that is copied along.
func TestGitCredentials(t *testing.T) {
	g := parseGit("https://jane:hunter2@host/a.git#v1", "/")
	cmd := (&Builder{}).git(t.Context(), g, true, t.TempDir(), []string{"fetch", g.repository, g.ref})
	if line := strings.Join(cmd.Args, " "); strings.Contains(line, "hunter2") || strings.Contains(line, "jane") {
		t.Errorf("the process list shows %s", line)
	}
	if !slices.Contains(cmd.Env, "RLBUILD_GIT_PASSWORD=hunter2") {
		t.Error("git doesn't learn the password")
	}
}
