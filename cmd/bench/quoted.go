package main

import "strings"

// quoted are figures of peers that the bench doesn't run. They were measured once, on another machine than the table's, so
// they tell an order of magnitude and no ratio.
const quotedSource = "Measured earlier on a 2-core Debian 12 machine (Linux 6.18, ordinary user, journaled ext4), not in this run:"

var quoted = []struct{ work, buildkit, stacker string }{
	{"one trivial run step", "51 ms", "40 ms"},
	{"from, 20 × run, config, commit, remove", "1.07 s, with an image 1.44 s", "0.86 s"},
	{"commit of 580 MB in 20,008 files to the store", "3.9 s", "–"},
	{"the same to an OCI archive, gzip", "9.0 s", "5.2 s"},
	{"the same to an OCI archive, zstd", "4.1 s", "–"},
}

// quotedTable returns them as a table of their own.
func quotedTable() string {
	var out strings.Builder
	out.WriteString(quotedSource + "\n\n| work | BuildKit 0.32, rootless | stacker 0.40 |\n|---|---|---|\n")
	for _, row := range quoted {
		out.WriteString("| " + row.work + " | " + row.buildkit + " | " + row.stacker + " |\n")
	}
	return out.String()
}
