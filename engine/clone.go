package engine

import (
	"context"
	"errors"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"go.podman.io/image/v5/types"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// gitURL matches what is a git repository without saying so by "git+": what buildah takes for one, and the transports that
// only git has.
var gitURL = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:https?://.*\.git(?:#.+)?|git://.*|ssh://.*|[\w.-]+@[\w.-]+:.*\.git(?:#.+)?)$`)
})

// isGit tells whether a source is a git repository.
func isGit(text string) bool { return strings.HasPrefix(text, "git+") || gitURL().MatchString(text) }

// gitSource is what is copied of a repository: REPOSITORY[#[REF][:DIRECTORY]].
type gitSource struct {
	repository string // without user name and password
	user       *url.Userinfo
	ref        string // a branch, a tag or a commit; "" for what the repository has checked out
	dir        string // in the repository, "" for all of it
}

// parseGit takes a source apart. Paths are relative to base.
func parseGit(text, base string) gitSource {
	var g gitSource
	repository, fragment, _ := strings.Cut(strings.TrimPrefix(text, "git+"), "#")
	g.ref, g.dir, _ = strings.Cut(fragment, ":")
	g.repository = repository
	switch {
	case isHTTP(repository):
		if u, err := url.Parse(repository); err == nil && u.User != nil {
			g.user, u.User = u.User, nil
			g.repository = u.String()
		}
	case !strings.Contains(repository, "://") && !gitURL().MatchString(repository) && !filepath.IsAbs(repository):
		g.repository = filepath.Join(base, repository)
	}
	return g
}

// clone checks a git repository out into dir, the newest commit alone.
func (b *Builder) clone(ctx context.Context, source string, dir string, o CopyOptions) error {
	g := parseGit(source, b.options.Dir)
	if g.ref == "" {
		g.ref = "HEAD"
	}
	bad := func(format string, args ...any) *failure.Error {
		return failure.New("fetching", shownURL(source), format, args...)
	}
	system, err := b.systemWith(o.Access)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "-q", "."},
		{"remote", "add", "--", "origin", g.repository},
		{"fetch", "-q", "-u", "--depth=1", "origin", "--", g.ref},
		{"checkout", "-q", "--detach", "FETCH_HEAD"},
	} {
		cmd := b.git(ctx, g, system.DockerInsecureSkipTLSVerify != types.OptionalBoolTrue, dir, args)
		output, err := cmd.CombinedOutput()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, exec.ErrNotFound):
			return bad("this machine has no git").WithHint("install git on the host.")
		case err != nil:
			return bad("git %s: %w: %s", args[0], err, strings.Join(strings.Fields(string(output)), " ")).
				WithHint("check the repository's address, and the branch, tag or commit behind \"#\".")
		}
	}
	return nil
}

// git is a command of git in dir. A user name and a password reach it by the environment, which other users don't see, and
// never by its arguments.
func (b *Builder) git(ctx context.Context, g gitSource, verify bool, dir string, args []string) *exec.Cmd {
	var options []string
	// A hook of git's, in which rlbuild may run, is told of another repository than this one.
	env := slices.DeleteFunc(slices.Clone(b.options.Env), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}, name)
	})
	// No other transports: "ext::COMMAND" is one, and runs the command.
	env = append(env, "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=file:git:http:https:ssh")
	if !verify {
		options = append(options, "-c", "http.sslVerify=false")
	}
	if g.user != nil {
		password, _ := g.user.Password()
		env = append(env, "RLBUILD_GIT_USER="+g.user.Username(), "RLBUILD_GIT_PASSWORD="+password)
		options = append(options, "-c", "credential.helper=", "-c",
			`credential.helper=!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$RLBUILD_GIT_USER" "$RLBUILD_GIT_PASSWORD"; }; f`)
	}
	cmd := exec.CommandContext(ctx, "git", append(options, args...)...)
	cmd.Dir, cmd.Env = dir, env
	endGroup(cmd, syscall.SIGKILL) // what speaks to the server is a process of its own
	return cmd
}
