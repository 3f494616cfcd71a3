package builtins

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
	"github.com/rlbuild/rlbuild/engine/failure"
	"github.com/rlbuild/rlbuild/engine/output"
	"github.com/rlbuild/rlbuild/engine/script"
)

// containerAttrs are what scripts see of a container.
var containerAttrs = []string{"builder", "id", "image", "image_id", "name"}

// containerValue is a working container.
type containerValue struct{ container *engine.Container }

func (v *containerValue) String() string        { return "container(" + v.container.Name() + ")" }
func (v *containerValue) Type() string          { return "container" }
func (v *containerValue) Freeze()               {}
func (v *containerValue) Truth() starlark.Bool  { return true }
func (v *containerValue) Hash() (uint32, error) { return hash(v.container.ID()), nil }
func (v *containerValue) AttrNames() []string   { return containerAttrs }
func (v *containerValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "id":
		return starlark.String(v.container.ID()), nil
	case "name":
		return starlark.String(v.container.Name()), nil
	case "image":
		return starlark.String(v.container.Image()), nil
	case "image_id":
		return starlark.String(v.container.ImageID()), nil
	case "builder":
		return starlark.True, nil
	}
	return nil, noAttr(v, name)
}

// imageValue is an image. What the store knows of it besides ID, digest and names is read when it is asked for.
type imageValue struct{ image *engine.Image }

func (v *imageValue) String() string {
	if len(v.image.Names) > 0 {
		return "image(" + v.image.Names[0] + ")"
	}
	return fmt.Sprintf("image(%.12s)", v.image.ID)
}
func (v *imageValue) Type() string          { return "image" }
func (v *imageValue) Freeze()               {}
func (v *imageValue) Truth() starlark.Bool  { return true }
func (v *imageValue) Hash() (uint32, error) { return hash(v.image.ID), nil }
func (v *imageValue) AttrNames() []string {
	return []string{"created", "digest", "id", "labels", "names", "names_history", "readonly", "size"}
}
func (v *imageValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "id":
		return starlark.String(v.image.ID), nil
	case "digest":
		return starlark.String(v.image.Digest), nil
	case "names":
		return textList(v.image.Names), nil
	case "created", "labels", "names_history", "readonly", "size":
		return v.fact(name)
	}
	return nil, noAttr(v, name)
}

// fact returns what the store knows.
func (v *imageValue) fact(name string) (starlark.Value, error) {
	facts, err := v.image.Facts(context.Background())
	if err != nil {
		return nil, err
	}
	switch name {
	case "created":
		return moment(facts.Created), nil
	case "names_history":
		return textList(facts.NamesHistory), nil
	case "readonly":
		return starlark.Bool(facts.ReadOnly), nil
	case "size":
		return starlark.MakeInt64(facts.Size), nil
	}
	labels := map[string]any{}
	for key, value := range facts.Labels {
		labels[key] = value
	}
	return toStarlark(labels), nil
}

func textList(texts []string) *starlark.List {
	values := make([]starlark.Value, len(texts))
	for i, text := range texts {
		values[i] = starlark.String(text)
	}
	return starlark.NewList(values)
}

// resultValue is what a command left: .code, .stdout, .stderr, .timed_out.
type resultValue struct{ result *engine.Result }

func (v *resultValue) String() string        { return fmt.Sprintf("result(code = %d)", v.result.Code) }
func (v *resultValue) Type() string          { return "result" }
func (v *resultValue) Freeze()               {}
func (v *resultValue) Truth() starlark.Bool  { return starlark.Bool(v.result.Succeeded()) }
func (v *resultValue) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: result") }
func (v *resultValue) AttrNames() []string   { return []string{"code", "stderr", "stdout", "timed_out"} }
func (v *resultValue) Attr(name string) (starlark.Value, error) {
	var captured *output.Capture
	switch name {
	case "code":
		return starlark.MakeInt(v.result.Code), nil
	case "timed_out":
		return starlark.Bool(v.result.TimedOut), nil
	case "stdout":
		captured = v.result.Stdout
	case "stderr":
		captured = v.result.Stderr
	default:
		return nil, noAttr(v, name)
	}
	text, err := captured.Text()
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", name, v.result.Title, err)
	}
	return starlark.String(text), nil
}

// noAttr is the error of an attribute that a value hasn't got, with the one that was perhaps meant.
func noAttr(v starlark.HasAttrs, name string) error {
	e := failure.New("", v.Type(), "has no attribute .%s", name)
	if near := script.Nearest(name, v.AttrNames()); near != "" {
		return e.WithHint("did you mean .%s?", near)
	}
	return e.WithHint("it has .%s", strings.Join(v.AttrNames(), ", ."))
}

func hash(text string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(text)) // a hash never fails to be written
	return h.Sum32()
}
