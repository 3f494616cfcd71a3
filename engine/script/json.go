package script

import (
	"maps"

	"go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// maxJSON is how deep JSON may be nested; encoding/json has the same limit. The library's decoder recurses without one, and
// four megabytes of brackets would overflow Go's stack.
const maxJSON = 10_000

// jsonModule returns Starlark's json module with a decoder that refuses what is nested too deeply.
func jsonModule() *starlarkstruct.Module {
	members := maps.Clone(json.Module.Members)
	decode := members["decode"].(*starlark.Builtin)
	members["decode"] = starlark.NewBuiltin(decode.Name(), func(thread *starlark.Thread, _ *starlark.Builtin,
		args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var text starlark.String
		var fallback starlark.Value
		if starlark.UnpackArgs(decode.Name(), args, kwargs, "x", &text, "default?", &fallback) == nil { // else the library says so
			depth := bracketsDeep(string(text))
			if depth > maxJSON && fallback != nil {
				return fallback, nil
			}
			if depth > maxJSON {
				return nil, failure.New("", decode.Name(), "the text is nested more than %d deep", maxJSON)
			}
			if s := stateOf(thread); s != nil {
				s.governor.decoded += uint64(depth)
			}
		}
		return decode.CallInternal(thread, args, kwargs)
	})
	return &starlarkstruct.Module{Name: json.Module.Name, Members: members}
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
