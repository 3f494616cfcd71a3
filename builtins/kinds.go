package builtins

import (
	"fmt"
	"sort"
	"strings"
	"time"

	sltime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// The kinds of parameters.
var (
	aString    = kind{"a string", isString}
	aBool      = kind{"True or False", is[starlark.Bool]}
	anInt      = kind{"a whole number", is[starlark.Int]}
	aContainer = kind{"a container", is[*containerValue]}
	anImage    = kind{"an image, or the name of one", either(isString, is[*imageValue], is[*manifestValue])}
	aBase      = kind{`an image, the name of one, or "scratch"`, anImage.takes}
	aPath      = kind{"a path or a string", isPath}
	paths      = kind{"a path or a string, or a list of them", either(isPath, listOf(isPath))}
	texts      = kind{"a list of strings, or one string", either(isString, listOf(isString))}
	aSize      = kind{`a size ("64m"), or a number of bytes`, either(isString, is[starlark.Int])}
	aCommand   = kind{"a list of strings and paths, or a string for the shell", either(isString, listOf(isPath))}
	aMapping   = kind{"a dict from strings to strings", isMapping(false)}
	aDuration  = kind{`a duration ("1m30s"), or a number of seconds`, either(isString, is[starlark.Int], is[starlark.Float], is[sltime.Duration])}
	aTime      = kind{"a whole number of seconds since 1970, or a time", either(is[starlark.Int], is[sltime.Time])}
	anything   = kind{"any value", func(starlark.Value) bool { return true }}
	inspected  = kind{"a container, an image, or the name of one", either(isString, is[*containerValue], is[*imageValue], is[*manifestValue])}
	removed    = kind{"a container, an image, the name of one, or a list of them", either(inspected.takes, listOf(inspected.takes))}
)

func is[T starlark.Value](v starlark.Value) bool { _, ok := v.(T); return ok }

func isString(v starlark.Value) bool { return is[starlark.String](v) }

func isPath(v starlark.Value) bool { return isString(v) || is[*pathValue](v) }

func isNone(v starlark.Value) bool { return v == starlark.None }

func either(takes ...func(starlark.Value) bool) func(starlark.Value) bool {
	return func(v starlark.Value) bool {
		for _, t := range takes {
			if t(v) {
				return true
			}
		}
		return false
	}
}

// listOf accepts lists and tuples of what takes accepts.
func listOf(takes func(starlark.Value) bool) func(starlark.Value) bool {
	return func(v starlark.Value) bool {
		if !is[*starlark.List](v) && !is[starlark.Tuple](v) {
			return false
		}
		for _, item := range elements(v) {
			if !takes(item) {
				return false
			}
		}
		return true
	}
}

// dictOf accepts dicts from strings to what takes accepts.
func dictOf(takes func(starlark.Value) bool) func(starlark.Value) bool {
	return func(v starlark.Value) bool {
		dict, ok := v.(*starlark.Dict)
		if !ok {
			return false
		}
		for _, item := range dict.Items() {
			if !isString(item[0]) || !takes(item[1]) {
				return false
			}
		}
		return true
	}
}

// isMapping accepts dicts from strings to strings, and to None where that unsets.
func isMapping(none bool) func(starlark.Value) bool {
	if none {
		return dictOf(either(isString, isNone))
	}
	return dictOf(isString)
}

// isSet accepts dicts from strings to True or None.
func isSet(v starlark.Value) bool {
	return dictOf(func(item starlark.Value) bool { return item == starlark.True || isNone(item) })(v)
}

// elements returns the elements of a list or tuple.
func elements(v starlark.Value) []starlark.Value {
	sequence, ok := v.(starlark.Indexable)
	if !ok {
		return nil
	}
	all := make([]starlark.Value, sequence.Len())
	for i := range all {
		all[i] = sequence.Index(i)
	}
	return all
}

// oneOrMore returns the elements of a list or tuple, or the one value; nothing for nil.
func oneOrMore(v starlark.Value) []starlark.Value {
	if v == nil {
		return nil
	}
	if is[*starlark.List](v) || is[starlark.Tuple](v) {
		return elements(v)
	}
	return []starlark.Value{v}
}

// stringList returns a list argument as strings; paths become the host's.
func (c *call) stringList(name string) []string {
	return hostStrings(elements(c.values[name]))
}

func hostStrings(values []starlark.Value) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = hostString(v)
	}
	return all
}

func hostString(v starlark.Value) string {
	if p, ok := v.(*pathValue); ok {
		return p.host()
	}
	s, _ := starlark.AsString(v)
	return s
}

// count returns an argument that is a number from 0 up.
func (c *call) count(name string) (int, error) {
	n, err := starlark.AsInt32(c.values[name])
	if err != nil || n < 0 {
		return 0, c.wrong(name, "got %s, want 0 or more", c.values[name])
	}
	return n, nil
}

// duration returns an argument that is a duration, not below zero.
func (c *call) duration(name string) (d time.Duration, err error) {
	switch v := c.values[name].(type) {
	case starlark.String:
		d, err = time.ParseDuration(string(v))
	case sltime.Duration:
		d = time.Duration(v)
	case starlark.Int, starlark.Float:
		seconds, _ := starlark.AsFloat(v)
		d = time.Duration(seconds * float64(time.Second))
	}
	if err != nil || d < 0 {
		return 0, c.wrong(name, "got %s, want a duration such as \"1m30s\"", c.values[name])
	}
	return d, nil
}

// time returns an argument that is a point in time, or nil.
func (c *call) time(name string) (*time.Time, error) {
	switch v := c.values[name].(type) {
	case starlark.Int:
		seconds, ok := v.Int64()
		if !ok || seconds < 0 {
			return nil, c.wrong(name, "got %s, want seconds since 1970", v)
		}
		return new(time.Unix(seconds, 0)), nil
	case sltime.Time:
		return new(time.Unix(time.Time(v).Unix(), 0)), nil // images have whole seconds
	}
	return nil, nil
}

// texts returns an argument that is a list of strings, or one of them.
func (c *call) texts(name string) []string {
	if one, ok := starlark.AsString(c.values[name]); ok {
		return []string{one}
	}
	if !c.given(name) {
		return nil
	}
	return c.stringList(name)
}

// lines returns a dict argument as NAME=VALUE lines in its order, NAME alone for None.
func (c *call) lines(name string) ([]string, error) {
	dict, ok := c.values[name].(*starlark.Dict)
	if !ok {
		return nil, nil
	}
	var lines []string
	for _, item := range dict.Items() {
		line := hostString(item[0])
		if line == "" || strings.ContainsAny(line, "=\x00") {
			return nil, c.wrong(name, "%q can't be a name", line)
		}
		if item[1] != starlark.None {
			line += "=" + hostString(item[1])
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// settingKind returns the kind of a configuration setting.
func settingKind(form engine.Form) kind {
	switch form {
	case engine.Text:
		return kind{"a string, or None", either(isString, isNone)}
	case engine.Command:
		return kind{"a list of strings, a string, or None", either(isString, listOf(isString), isNone)}
	case engine.List:
		return kind{"a list of strings, or None", either(listOf(isString), isNone)}
	case engine.Set:
		return kind{"a list of strings, a dict from strings to True or None, or None", either(listOf(isString), isSet, isNone)}
	case engine.Duration:
		return kind{aDuration.want + ", or None", either(aDuration.takes, isNone)}
	case engine.Number:
		return kind{"a whole number, or None", either(is[starlark.Int], isNone)}
	case engine.Pairs:
		return kind{"a dict from strings to strings or None, or None", either(isMapping(true), isNone)}
	}
	panic(fmt.Sprintf("no kind for form %d", form))
}

// toStarlark converts the values of encoding/json.
func toStarlark(v any) starlark.Value {
	switch v := v.(type) {
	case nil:
		return starlark.None
	case bool:
		return starlark.Bool(v)
	case string:
		return starlark.String(v)
	case float64:
		if v == float64(int64(v)) {
			return starlark.MakeInt64(int64(v))
		}
		return starlark.Float(v)
	case []any:
		items := make([]starlark.Value, len(v))
		for i, item := range v {
			items[i] = toStarlark(item)
		}
		return starlark.NewList(items)
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		dict := starlark.NewDict(len(v))
		for _, key := range keys {
			_ = dict.SetKey(starlark.String(key), toStarlark(v[key])) // strings hash and the dict isn't frozen
		}
		return dict
	}
	panic(fmt.Sprintf("encoding/json gave a %T", v))
}
