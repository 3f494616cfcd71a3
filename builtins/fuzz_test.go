package builtins

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// FuzzStrings gives the texts that options parse, mounts, durations and sizes among them, any content: the outcome is a value or an
// error that says what it is about.
func FuzzStrings(f *testing.F) {
	for _, text := range []string{
		"type=bind,src=/a,dst=/b,ro", "type=cache,target=/c,id=x,sharing=locked,mode=0700,uid=1", "type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1777",
		"type=secret,id=s,env=TOKEN", "type=ssh,id=default,mode=0600", "type=bind,from=img,rbind,z", "type=,=,,", "1h2m", "-1s", "64m", "9999999999999g",
	} {
		f.Add(text)
	}
	session := New(Options{Script: "fuzz", Dir: f.TempDir(), Env: map[string]string{"SET": "x"}})
	if err := session.Start(func() (*engine.Builder, error) { return &engine.Builder{}, nil }); err != nil {
		f.Fatal(err)
	}
	defer session.Close()
	thread := &starlark.Thread{Name: "fuzz"}
	f.Fuzz(func(t *testing.T, text string) {
		c := &call{verb: runVerb, session: session, thread: thread, values: map[string]starlark.Value{"timeout": starlark.String(text)}}
		if v, err := c.parseMount(text); err != nil {
			if message := err.Error(); message == "" || strings.Contains(message, "%!") && !strings.Contains(text, "%") {
				t.Errorf("%q: %v", text, err)
			}
		} else if v == nil || v.String() == "" {
			t.Errorf("%q is %v", text, v)
		}
		if d, err := c.duration("timeout"); err == nil && d < 0 {
			t.Errorf("%q is the duration %v", text, d)
		}
	})
}

// FuzzJSON holds that JSON of images and of the store, whatever it is, becomes a value that has all of it.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"Env":["A=b"],"n":1,"big":1e300,"x":[null,true,{"":-0.5}]}`))
	f.Add([]byte(`[9223372036854775807,9223372036854775808,-9223372036854775809,1e18]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if json.Unmarshal(data, &v) != nil {
			return
		}
		if back := fromStarlark(t, toStarlark(v)); !reflect.DeepEqual(back, v) {
			t.Errorf("%s: %#v, want %#v", data, back, v)
		}
	})
}

func fromStarlark(t *testing.T, v starlark.Value) any {
	switch v := v.(type) {
	case starlark.NoneType:
		return nil
	case starlark.Bool:
		return bool(v)
	case starlark.String:
		return string(v)
	case starlark.Int:
		return float64(v.Float())
	case starlark.Float:
		return float64(v)
	case *starlark.List:
		all := make([]any, v.Len())
		for i := range all {
			all[i] = fromStarlark(t, v.Index(i))
		}
		return all
	case *starlark.Dict:
		all := map[string]any{}
		for key, value := range v.Entries() {
			all[string(key.(starlark.String))] = fromStarlark(t, value)
		}
		return all
	}
	t.Fatalf("a %T", v)
	return nil
}
