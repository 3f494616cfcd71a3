package builtins

import (
	"time"

	sltime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

var historyVerb = &verb{
	name:    "history",
	summary: "lists the steps in which an image was made, the first one first",
	params:  []param{{name: "image", kind: anImage, required: true, doc: "the image"}},
	gives: `a list of dicts: "created" (a time), "created_by", "author", "comment", "empty_layer", "layer" (the digest of its
uncompressed content) and "size" (of that, bytes); None for what isn't known`,
	example: `image = commit(ctr, "localhost/example-history")
for step in history(image):
    print(step["created_by"], step["size"])
remove(image)`,
	do: func(c *call) (starlark.Value, error) {
		image, err := c.image(c.values["image"])
		if err != nil {
			return nil, err
		}
		entries, err := c.session.engine.History(c.ctx(), image)
		if err != nil {
			return nil, err
		}
		values := make([]starlark.Value, len(entries))
		for i, entry := range entries {
			values[i] = historyEntry(entry)
		}
		return starlark.NewList(values), nil
	},
}

func historyEntry(entry engine.HistoryEntry) starlark.Value {
	dict := starlark.NewDict(7)
	created, layer, size := starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None)
	if entry.Created != nil {
		created = moment(*entry.Created)
	}
	if entry.Layer != "" {
		layer, size = starlark.String(entry.Layer), starlark.MakeInt64(entry.Size)
	}
	for _, item := range []struct {
		key   string
		value starlark.Value
	}{
		{"created", created}, {"created_by", starlark.String(entry.CreatedBy)}, {"author", starlark.String(entry.Author)},
		{"comment", starlark.String(entry.Comment)}, {"empty_layer", starlark.Bool(entry.EmptyLayer)},
		{"layer", layer}, {"size", size},
	} {
		_ = dict.SetKey(starlark.String(item.key), item.value) // strings hash and the dict isn't frozen
	}
	return dict
}

// moment is a time as scripts have it, in UTC wherever the script runs.
func moment(t time.Time) starlark.Value { return sltime.Time(t.UTC()) }
