package script

import (
	"errors"
	"maps"
	"strings"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// jsonModule returns Starlark's json module with a decoder and encoders that refuse what is nested too deeply. The library's own
// recurse without a limit, and four megabytes of brackets would overflow Go's stack.
func jsonModule() *starlarkstruct.Module {
	members := maps.Clone(json.Module.Members)
	decode := members["decode"].(*starlark.Builtin)
	members["decode"] = starlark.NewBuiltin(decode.Name(), func(thread *starlark.Thread, _ *starlark.Builtin,
		args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var text starlark.String
		var fallback starlark.Value
		if starlark.UnpackArgs(decode.Name(), args, kwargs, "x", &text, "default?", &fallback) == nil { // else the library says so
			depth := bracketsDeep(string(text))
			if depth > maxNesting && fallback != nil {
				return fallback, nil
			}
			if depth > maxNesting {
				return nil, failure.New("", decode.Name(), "the text is nested more than %d deep", maxNesting)
			}
			if s := stateOf(thread); s != nil {
				s.governor.decoded += uint64(depth)
			}
		}
		return decode.CallInternal(thread, args, kwargs)
	})
	for _, name := range []string{"encode", "encode_indent"} {
		encode := printing(members[name].(*starlark.Builtin))
		members[name] = starlark.NewBuiltin(encode.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple,
			kwargs []starlark.Tuple) (starlark.Value, error) {
			value, err := encode.CallInternal(thread, args, kwargs)
			return value, brief(err)
		})
	}
	return &starlarkstruct.Module{Name: json.Module.Name, Members: members}
}

// brief cuts the middle out of an error that says at each level which element it is about.
func brief(err error) error {
	const ends = 200
	if err == nil || len(err.Error()) <= 3*ends {
		return err
	}
	text := err.Error()
	return errors.New(strings.ToValidUTF8(text[:ends], "") + " … " + strings.ToValidUTF8(text[len(text)-ends:], ""))
}

// bracketsDeep returns how deep the brackets of a JSON text are nested.
func bracketsDeep(text string) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return deepest
}
