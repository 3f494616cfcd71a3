package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/mattn/go-shellwords"
	"go.podman.io/buildah"
)

var errEmptyItem = errors.New("an empty string in it")

func text(set func(*buildah.Builder, string)) func(*buildah.Builder, any) error {
	return func(b *buildah.Builder, value any) error {
		s, _ := value.(string) // nil is the empty string, which is how the library unsets
		set(b, s)
		return nil
	}
}

// command sets a list, or a string as a command for the shell.
func command(set func(*buildah.Builder, []string)) func(*buildah.Builder, any) error {
	return func(b *buildah.Builder, value any) error {
		argv, _ := value.([]string)
		if line, ok := value.(string); ok {
			argv = []string{"/bin/sh", "-c", line}
		}
		set(b, argv)
		return nil
	}
}

// words sets a list, or the words of a string.
func words(set func(*buildah.Builder, []string)) func(*buildah.Builder, any) error {
	return func(b *buildah.Builder, value any) error {
		argv, _ := value.([]string)
		if line, ok := value.(string); ok {
			var err error
			if argv, err = splitWords(line); err != nil {
				return err
			}
		}
		set(b, argv)
		return nil
	}
}

// splitWords splits a line as a shell would, quotes and backslashes heeded.
func splitWords(line string) ([]string, error) {
	parser := shellwords.NewParser()
	found, err := parser.Parse(line)
	if err != nil {
		return nil, fmt.Errorf("%q can't be split into words: %w", line, err)
	}
	if parser.Position >= 0 {
		return nil, fmt.Errorf("%q has a shell operator in it: quote it, or give a list", line)
	}
	return found, nil
}

// list adds strings. A nil clear leaves nothing to unset.
func list(add func(*buildah.Builder, string), clear func(*buildah.Builder)) func(*buildah.Builder, any) error {
	return func(b *buildah.Builder, value any) error {
		items, ok := value.([]string)
		if !ok {
			if clear != nil {
				clear(b)
			}
			return nil
		}
		for _, item := range items {
			if item == "" {
				return errEmptyItem
			}
			add(b, item)
		}
		return nil
	}
}

func pairs(set func(*buildah.Builder, string, string), unset func(*buildah.Builder, string),
	clear func(*buildah.Builder)) func(*buildah.Builder, any) error {
	return func(b *buildah.Builder, value any) error {
		items, ok := value.([]Item)
		if !ok {
			clear(b)
			return nil
		}
		for _, item := range items {
			switch {
			case item.Key == "":
				return errEmptyItem
			case item.Value == nil:
				unset(b, item.Key)
			default:
				set(b, item.Key, *item.Value)
			}
		}
		return nil
	}
}

// set is pairs for what has no values.
func set(add, remove func(*buildah.Builder, string), clear func(*buildah.Builder)) func(*buildah.Builder, any) error {
	return pairs(func(b *buildah.Builder, key, _ string) { add(b, key) }, func(b *buildah.Builder, key string) {
		if key == All {
			clear(b)
		} else {
			remove(b, key)
		}
	}, clear)
}

// environment sets variables one after the other, with what the image has so far expanded in the values, as buildah config
// does.
func environment(b *buildah.Builder, value any) error {
	items, ok := value.([]Item)
	if !ok {
		b.ClearEnv()
		return nil
	}
	for _, item := range items {
		if item.Key == "" || strings.Contains(item.Key, "=") {
			return fmt.Errorf("%q can't be a variable's name", item.Key)
		}
		if item.Value == nil {
			b.UnsetEnv(item.Key)
			continue
		}
		so := map[string]string{"$": "$"}
		for _, line := range b.Env() {
			name, v, _ := strings.Cut(line, "=")
			so[name] = v
		}
		missing := ""
		expanded := os.Expand(*item.Value, func(ref string) string {
			v, found := so[ref]
			if !found {
				missing = ref
			}
			return v
		})
		if missing != "" {
			return fmt.Errorf("%s: $%s is not set in the image; write $$ for a dollar sign", item.Key, missing)
		}
		b.SetEnv(item.Key, expanded)
	}
	return nil
}

// history returns what the history says of the setting, as buildah config words it.
func (s Setting) history(value any) []string {
	if s.instruction == "" {
		return nil
	}
	var said []string
	switch v := value.(type) {
	case string:
		said = []string{v}
	case []string:
		said = slices.Clone(v)
		if s.Form == Command {
			said = []string{jsonList(v)}
		}
	case []Item:
		for _, item := range v {
			switch {
			case item.Value == nil:
				said = append(said, strings.TrimSuffix(item.Key, All)+"-")
			case s.Form == Set:
				said = append(said, item.Key)
			default:
				said = append(said, item.Key+"="+*item.Value)
			}
		}
	default:
		said = []string{map[bool]string{true: "-"}[s.Form == Set || s.Form == Pairs]}
	}
	if s.instruction != "VOLUME" && s.instruction != "ONBUILD" { // each of these has an instruction of its own
		said = []string{strings.Join(said, " ")}
	}
	for i := range said {
		said[i] = s.instruction + " " + said[i]
	}
	return said
}

// jsonList is a command as Containerfiles have it.
func jsonList(argv []string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(argv) // strings always can be
	return strings.TrimSpace(b.String())
}
