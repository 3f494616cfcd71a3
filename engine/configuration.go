package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// badFile is how one of the libraries names a configuration file that it can't parse.
type badFile struct {
	pattern *regexp.Regexp // the file, then what is wrong with it
	instead string         // what else can be done
	parse   func([]byte) error
}

var badFiles = sync.OnceValue(func() []badFile {
	return []badFile{
		{regexp.MustCompile(`loading registries configuration "([^"]+)": (toml: .*)`), "name another one with --registries-conf", nil},
		{regexp.MustCompile(`decode configuration "([^"]+)": (toml: .*)`), "name another one with CONTAINERS_CONF", nil},
		{regexp.MustCompile(`unmarshaling JSON at "([^"]+)": (.*)`), "name another one with --authfile", parseJSON},
		{regexp.MustCompile(`invalid policy in "([^"]+)": (.*)`), "name another one with --signature-policy", parseJSON},
		{regexp.MustCompile(`parsing (\S+\.yaml): (yaml: .*)`), "take it away", nil},
	}
})

// helperMissing is how the library of credential helpers says that there is no such program.
var helperMissing = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`exec: "(docker-credential-[^"/]+)": executable file not found`)
})

// explainFile returns what is wrong with a configuration file if that is what err says, else nil.
func explainFile(op, subject string, err error) *failure.Error {
	text := err.Error()
	for _, kind := range badFiles() {
		m := kind.pattern.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		content, readErr := readSettings(m[1])
		if readErr != nil {
			continue // there is something else wrong with it, and err says what
		}
		detail := m[2]
		if kind.parse != nil {
			if parseErr := kind.parse(content); parseErr != nil {
				detail = parseErr.Error()
			}
		}
		return trouble.BadFile.Explain(op, subject, err, trouble.Facts{"file": m[1], "detail": strip(detail), "instead": kind.instead})
	}
	if m := helperMissing().FindStringSubmatch(text); m != nil {
		if _, err := exec.LookPath(m[1]); err != nil {
			return trouble.NoCredentialHelper.Explain(op, subject, err, trouble.Facts{"helper": m[1]})
		}
	}
	return nil
}

// mostSettings is how much of a configuration file is read to say what is wrong with it, bytes.
const mostSettings = 1 << 20

// readSettings reads a configuration file, if it is a regular file: an error may name any.
func readSettings(name string) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > mostSettings {
		return nil, errors.Join(err, fs.ErrInvalid)
	}
	return io.ReadAll(io.LimitReader(file, mostSettings))
}

// parseJSON says where content stops being JSON; the libraries don't.
func parseJSON(content []byte) error {
	var value any
	err := json.Unmarshal(content, &value)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	before := content[:min(int(syntax.Offset), len(content))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1)
	return fmt.Errorf("line %d, column %d: %w", line, max(column, 1), err)
}

// authFile is one of the files that credentials are looked for in.
type authFile struct{ path, name string }

// authFiles returns where credentials are looked for, in this order.
func (b *Builder) authFiles() []authFile {
	env := func(name string) string {
		if at := value(b.options.Env, name); at != nil {
			return strings.TrimPrefix(*at, name+"=")
		}
		return ""
	}
	if path := b.options.Registries.AuthFile; path != "" {
		return []authFile{{path, "named"}}
	}
	var files []authFile
	if dir := env("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, authFile{filepath.Join(dir, "containers/auth.json"), "run-time"})
	}
	if home := env("HOME"); home != "" {
		config := env("XDG_CONFIG_HOME")
		if config == "" {
			config = filepath.Join(home, ".config")
		}
		files = append(files, authFile{filepath.Join(config, "containers/auth.json"), "own"})
		docker := env("DOCKER_CONFIG")
		if docker == "" {
			docker = filepath.Join(home, ".docker")
		}
		files = append(files, authFile{filepath.Join(docker, "config.json"), "docker"})
	}
	return files
}

// authContent is what matters of a file of credentials here.
type authContent struct {
	Auths       map[string]any    `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
}

// helpers returns the programs that the file leaves credentials to.
func (c authContent) helpers() (programs []string) {
	for _, name := range c.CredHelpers {
		programs = append(programs, "docker-credential-"+name)
	}
	return programs
}
