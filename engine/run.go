package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/sandbox"
)

// quotedLines is how many of the last lines of a failed command its error quotes.
const quotedLines = 10

// RunOptions say how a command runs in a container.
type RunOptions struct {
	Process
	User    string  // "user[:group]"; "" is the image's
	Workdir string  // "" is the image's
	Mounts  []Mount // beside the container's volumes

	StepSettings          // on top of the container's
	Hostname     string   // "" is the container's
	NoHostname   bool     // the image's own /etc/hostname stays
	NoHosts      bool     // the image's own /etc/hosts stays
	NoPivot      bool     // an OCI runtime enters the root without pivot_root
	Runtime      string   // an OCI runtime, a path or a name in PATH
	RuntimeFlag  []string // its global flags, without the dashes in front
	AddHistory   bool     // a step that succeeds gets an entry in the image's history

	GroupAdd []string // more groups, in addition to the container's: names in the image or numbers, or KeepGroups alone
}

// Process are a command and the options that it has wherever it runs.
type Process struct {
	Args  []string // argv; empty means Shell
	Shell string   // a line for the image's shell, the host's /bin/sh
	Env   []string // NAME=VALUE, on top of the image's, or of the environment rlbuild was started with

	Stdin          *Input        // nil: nothing; at a terminal, what the user types at his own
	Terminal       bool          // a pseudo-terminal for all three streams
	Timeout        time.Duration // the most it may take; 0 is no limit
	ValidExitCodes []int         // those that mean success; empty is 0 alone
}

// Result is what a command that ran to its end left.
type Result struct {
	Title  string   // the command, as messages show it
	Argv   []string // what was executed
	Code   int      // exit status; 128+n for a command that signal n ended, 124 for one whose time was over
	Stdout *output.Capture
	Stderr *output.Capture

	TimedOut bool // it was ended because its time was over

	asked  Process
	notRun syscall.Errno          // why the command could not be executed, 0 if it was
	reason error                  // in the words of who tried, if he had any
	look   func() (*scene, error) // at where it failed
}

// Succeeded tells whether the command ended by itself with a status that means success.
func (r *Result) Succeeded() bool {
	switch {
	case r.TimedOut || r.notRun != 0:
		return false
	case len(r.asked.ValidExitCodes) == 0:
		return r.Code == 0
	}
	return slices.Contains(r.asked.ValidExitCodes, r.Code)
}

// Err returns nil for a command that succeeded, else an error with its argv, its status, its last lines and, if it can be found
// out, why it failed and what to do. It looks for that now, where the command ran: call it before anything is changed there.
func (r *Result) Err() error {
	if r.Succeeded() {
		return nil
	}
	if r.notRun != 0 {
		var reason error = r.notRun
		if r.reason != nil {
			reason = r.reason
		}
		return r.explain(failure.New("", r.Title, "%q could not be executed: %w", r.Argv[0], reason))
	}
	e := failure.New("", r.Title, "exited with status %d", r.Code)
	if valid := r.asked.ValidExitCodes; len(valid) > 0 {
		e.Err = fmt.Errorf("exited with status %d, which is none of the valid ones: %s", r.Code,
			strings.Trim(strings.ReplaceAll(fmt.Sprint(valid), " ", ", "), "[]"))
	}
	if e.Output = r.Stderr.Tail(quotedLines); len(e.Output) == 0 {
		e.Output = r.Stdout.Tail(quotedLines)
	}
	if r.TimedOut {
		e.Err = fmt.Errorf("was stopped: it had not ended after %v", r.asked.Timeout)
		return e.WithHint("a longer timeout lets it go on; without one there is no limit.")
	} else if r.Code > 128 && r.Code <= 128+64 {
		e.Err = fmt.Errorf("exited with status %d (signal %d ended it)", r.Code, r.Code-128)
	}
	return r.explain(e)
}

// Run runs a command in the container and waits for it. A command that fails is a Result, not an error; an error means
// that it could not be run, or was interrupted.
func (c *Container) Run(ctx context.Context, o RunOptions) (*Result, error) {
	if err := c.alive("run"); err != nil {
		return nil, err
	}
	way, err := c.wayFor(&o)
	if err != nil {
		return nil, err
	}
	argv := o.Args
	title := "run " + CommandLine(argv)
	if len(argv) == 0 {
		argv, title = append(slices.Clone(c.shell()), o.Shell), "run "+oneLine(o.Shell)
	}
	run := c.runByLibrary
	if way.Kind == sandboxKind {
		run = c.runSandboxed
	}
	result, err := run(ctx, way, title, argv, o)
	if err == nil {
		result.look = func() (*scene, error) { return c.stepScene(way, o) }
		if o.AddHistory && result.Succeeded() {
			c.noteStep(o)
		}
	} else if way.Kind != sandboxKind && ctx.Err() == nil && failure.HintOf(err) == "" {
		if s, lookErr := c.stepScene(way, o); lookErr == nil { // what runs the step may not say why
			if k := (*cause)(s.UnmappedUser()); k != nil {
				err = k.explain("", title, err)
			}
			s.close()
		}
	}
	return result, errors.Join(err, way.close())
}

// noteStep adds a step to the image's history, in the words of buildah.
func (c *Container) noteStep(o RunOptions) {
	created := time.Now().UTC()
	if c.run.options.Created != nil {
		created = *c.run.options.Created
	}
	words := append(slices.Clone(c.shell()), strings.Join(o.Args, " ")+o.Shell)
	c.builder.AddPrependedEmptyLayer(&created, strings.Join(words, " "), "", "")
}

// shell returns what lines for the shell run in.
func (c *Container) shell() []string {
	if shell := c.builder.Shell(); len(shell) > 0 {
		return shell
	}
	return []string{"/bin/sh", "-c"}
}

// ended notes the status that a command ended with.
func (r *Result) ended(asked Process, code int) *Result {
	r.asked, r.Code = asked, code
	return r
}

// cutShort tells whether something ended a command before it was done: the end of the run, that of its time, or an input that
// couldn't be read. Only late is a result; the others are errors.
func (r *Result) cutShort(ctx context.Context, asked Process, late bool, inputErr error) (cut bool, err error) {
	switch {
	case ctx.Err() != nil:
		return true, interrupted(ctx, r.Title)
	case late:
		r.ended(asked, codeTimedOut).TimedOut = true
		return true, nil
	case inputErr != nil:
		return true, explain("", r.Title, inputErr)
	}
	return false, nil
}

// notRun is the end of a command that could not be run in a container. One that isn't there or can't be executed is a result,
// as it is for a shell: 127 for one that isn't found, 126 for the other. Why, the files say: see Result.Err.
func notRun(result *Result, err error) (*Result, error) {
	result.notRun = errnoOf(err)
	if !errors.As(err, new(*sandbox.Error)) {
		result.reason = brief{strip(err.Error()), err}
	}
	switch result.notRun {
	case 0:
		e := explain("", result.Title, err)
		e.Output = result.Stderr.Tail(quotedLines)
		return nil, e
	case syscall.ENOENT:
		result.Code = 127
	default:
		result.Code = 126
	}
	return result, nil
}

// errnoOf is why a command could not be executed, by the error of whoever tried; 0 if it failed before it came to that.
func errnoOf(err error) syscall.Errno {
	var failed *sandbox.Error
	if errors.As(err, &failed) {
		switch failed.Err {
		case syscall.ENOENT, syscall.ENOTDIR:
			return syscall.ENOENT
		case syscall.EACCES, syscall.ENOEXEC:
			return failed.Err
		}
		return 0
	}
	m := notExecuted().FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	switch strings.ToLower(cmp.Or(m[1], m[2], m[3])) {
	case "permission denied", "is a directory":
		return syscall.EACCES
	case "exec format error":
		return syscall.ENOEXEC
	}
	return syscall.ENOENT
}

// notExecuted matches what the library, runc and crun say of a command that they can't execute. What a runtime couldn't do
// before that ends in the same words, and so does what the library says of a runtime that it can't execute.
var notExecuted = sync.OnceValue(func() *regexp.Regexp {
	const why = "(not found in \\$PATH|no such file or directory|permission denied|is a directory|exec format error)"
	return regexp.MustCompile("(?i)(?:(?:^fork/|^|[^/\\w])exec:? (?:container process )?(?:\\([^)]*\\) )?[\"`]?[^\"`\\s]+[\"`]?:(?: executable file| stat [^ ]+:)? " + why +
		"|\\bexecutable file [\"`]?[^\"`]+[\"`]? (?:not found: )?" + why + "|\\bopen executable: " + why + ")")
})

// exitCode returns a command's exit status, 128+n when signal n ended it, by what package os or os/exec says of its end.
func exitCode(end interface {
	ExitCode() int
	Sys() any
}) int {
	if code := end.ExitCode(); code >= 0 {
		return code
	}
	if status, ok := end.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return 1
}

// interrupted is the error of a command that ended because the run was cancelled.
func interrupted(ctx context.Context, title string) error {
	return failure.New("", title, "stopped: %w", context.Cause(ctx))
}

// CommandLine shows an argv as a shell would read it.
func CommandLine(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"\\$`|&;<>()*?[]#~{}!") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		quoted[i] = arg
	}
	return oneLine(strings.Join(quoted, " "))
}

// oneLine shortens a command for a title.
func oneLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	shown := strings.TrimSpace(lines[0])
	if len(lines) > 1 {
		shown += " …"
	}
	const most = 160
	if runes := []rune(shown); len(runes) > most {
		shown = string(runes[:most]) + "…"
	}
	return shown
}
