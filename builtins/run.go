package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var (
	cmdParam = param{name: "cmd", kind: aCommand, required: true,
		doc: "a list is the command and its arguments as they are; a string is a line for the shell"}
	envParam   = param{name: "env", kind: aMapping, keyword: true, doc: "more environment variables"}
	checkParam = param{name: "check", kind: aBool, keyword: true, fallback: "True",
		doc: "a command that fails ends the script; False returns its result"}
)

const resultDoc = "a result: .code, .stdout, .stderr, .timed_out; true if the command succeeded"

var runVerb = &verb{
	name:    "run",
	summary: "runs a command in a container",
	doc: `What the command prints is shown as it comes and kept for the result, up to 64 MiB of each stream. Its standard
input is empty unless stdin says otherwise. A string runs in the image's shell, /bin/sh -c unless the image says otherwise.

.code is the exit status: 128 + n for a command that signal n ended, 127 for one that isn't there, 126 for one that can't be
executed, 124 for one that timeout ended. What a step leaves running in the background ends with it.`,
	params: slices.Concat([]param{ctrParam, cmdParam,
		{name: "user", kind: aString, keyword: true, doc: `"user[:group]", names in the image or numbers; the image's user`},
		{name: "workdir", kind: aString, keyword: true, doc: "where the command starts; the image's working directory"},
		envParam, checkParam,
		{name: "group_add", kind: texts, keyword: true,
			doc: "more groups that it is in, names in the image or numbers, in addition to those of from_"},
		{name: "keep_groups", kind: aBool, keyword: true, fallback: "False",
			doc: `it is in your own supplementary groups, and in none of the image's; as group_add = ["keep-groups"]`},
	}, mountParams, stepParams, runSettingParams, processParams),
	gives: resultDoc,
	example: `run(ctr, ["sh", "-c", "echo $GREETING"], env = {"GREETING": "hello"})
if not run(ctr, "test -e /nowhere", check = False):
    print("nothing there")`,
	more: append([]string{
		mountExample,
		`result = run(ctr, ["sort"], stdin = "b\na\n", timeout = "1m")
print(result.stdout)
print(run(ctr, "wc -l", stdin = path("/etc/passwd")).stdout)`,
		`if run(ctr, "sleep 10", timeout = 0.2, check = False).timed_out:
    print("gave up")`,
		`found = run(ctr, ["grep", "-q", "nobody", "/etc/passwd"], valid_exit_codes = [0, 1])
print(found.code)`,
		`print(run(ctr, "tty; stty size", terminal = True).stdout)`,
		`run(ctr, ["pwd"], user = "app:web", workdir = "/srv")`,
		`print(run(ctr, ["id", "-G"], group_add = ["app", "1234"]).stdout)`,
		`run(ctr, ["id"], keep_groups = True)`,
	}, runSettingExamples...),
	do: func(c *call) (starlark.Value, error) {
		process, done, err := c.process()
		if err != nil {
			return nil, err
		}
		defer done()
		groups := c.texts("group_add")
		if c.flag("keep_groups", false) {
			groups = append(groups, engine.KeepGroups)
		}
		o := engine.RunOptions{
			Process: process, User: c.text("user"), Workdir: c.text("workdir"), GroupAdd: groups,
		}
		if err := c.runSettings(&o); err != nil {
			return nil, err
		}
		if o.Mounts, err = c.stepMounts(); err != nil {
			return nil, err
		}
		result, err := c.container().Run(c.ctx(), o)
		return c.finished(result, err)
	},
}

// command returns the argument "cmd", as argv or as a line for a shell.
func (c *call) command() (argv []string, line string, err error) {
	if line, ok := starlark.AsString(c.values["cmd"]); ok {
		if line == "" {
			return nil, "", c.wrong("cmd", "is empty")
		}
		return nil, line, nil
	}
	argv = c.stringList("cmd")
	if len(argv) == 0 || argv[0] == "" {
		return nil, "", c.wrong("cmd", "is empty: its first element names the command")
	}
	return argv, "", nil
}

// finished turns a command's result into the verb's: a failure, unless check is off.
func (c *call) finished(result *engine.Result, err error) (starlark.Value, error) {
	if err != nil {
		return nil, err
	}
	if c.flag("check", true) {
		if err := result.Err(); err != nil {
			return nil, err
		}
	}
	return &resultValue{result}, nil
}
