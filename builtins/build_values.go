package builtins

import "strings"

// fetched tells whether buildah fetches what goes by that name, instead of finding it on the host.
func fetched(text string) bool {
	return strings.Contains(text, "://") || strings.HasPrefix(text, "github.com/") || text == "-"
}
