package builtins

import (
	"strings"

	"go.starlark.net/starlark"

	"github.com/rlbuild/rlbuild/engine"
)

// imageParams are what commit and build can be told of the image that they make.
var imageParams = []param{
	formatParam,
	{name: "squash", kind: aBool, keyword: true, fallback: "False", doc: "a single layer, the base image's files included"},
	{name: "timestamp", kind: aTime, keyword: true, doc: "the time of the image, its history, and every file in a new layer"},
	{name: "source_date_epoch", kind: aTime, keyword: true, doc: "the time of the image and its history; SOURCE_DATE_EPOCH of the environment"},
	{name: "rewrite_timestamp", kind: aBool, keyword: true, fallback: "False",
		doc: "files in new layers that are later than the source date epoch get its time"},
	{name: "omit_history", kind: aBool, keyword: true, fallback: "False", doc: "leave the history empty"},
	{name: "identity_label", kind: aBool, keyword: true,
		doc: "label the image with the version of buildah's library; True, unless the image has a fixed time"},
	{name: "created_annotation", kind: aBool, keyword: true, fallback: "True", doc: "annotate the manifest with the time; OCI format only"},
	{name: "unsetenv", kind: texts, keyword: true, doc: "environment variables that the image doesn't get"},
	{name: "iidfile", kind: aPath, keyword: true, doc: `file that receives the image's ID, "sha256:…"`},
	{name: "metadata_file", kind: aPath, keyword: true, doc: "file that receives the image's digests as JSON"},
	{name: "cw", kind: kind{"a dict from strings to strings, or a string", either(isString, isMapping(false))}, keyword: true,
		doc: `make a confidential workload, an encrypted disk image for krun: {"type": "snp", "passphrase": …}`},
}

// times returns what the options say of the image's time.
func (c *call) times() (t engine.Times, err error) {
	t.Rewrite = c.flag("rewrite_timestamp", false)
	if t.Timestamp, err = c.time("timestamp"); err == nil {
		t.SourceDateEpoch, err = c.time("source_date_epoch")
	}
	return t, err
}

// confidential returns what the option cw says, as buildah writes it. There may be a passphrase in it.
func (c *call) confidential() (string, error) {
	dict, ok := c.values["cw"].(*starlark.Dict)
	if !ok {
		return c.text("cw"), nil
	}
	var parts []string
	for _, item := range itemsOf(dict) {
		if strings.Contains(item.Key+*item.Value, ",") {
			return "", c.wrong("cw", "%s has a comma in it, which buildah's library can't read", item.Key)
		}
		parts = append(parts, item.Key+"="+*item.Value)
	}
	return strings.Join(parts, ","), nil
}
