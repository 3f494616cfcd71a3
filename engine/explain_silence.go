package engine

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rlbuild/rlbuild/engine/silence"
	"github.com/rlbuild/rlbuild/engine/trouble"
)

// handshakeTime is how long a server may take for the TLS handshake. The library's clients have the same.
const handshakeTime = 10 * time.Second

// silent tells whether it was a server's silence that ended what failed.
func silent(err error, _ string) bool {
	_, gaveUp := silence.Of(err)
	return gaveUp
}

// silentWhere says who was silent for how long, and in what.
func silentWhere(err error, _ string) trouble.Facts {
	s, _ := silence.Of(err)
	detail := "an answer stopped on the way"
	var request *url.Error // there only until the answer begins
	if s.Sending {
		detail = "it stopped taking what is sent"
	} else if errors.As(err, &request) {
		detail = "the answer to a request is missing"
		if u, err := url.Parse(request.URL); err == nil { // without its query, where there may be secrets
			detail = "there is no answer to " + strings.ToUpper(request.Op) + " " + u.Path
		}
	}
	return trouble.Facts{"address": s.Address, "time": s.Limit.String(), "detail": detail}
}

// silentLine matches how net/http writes the end of a connection that was given up.
var silentLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:read|write) tcp (\S+)->(\S+): i/o timeout$`)
})

// silentText says the same of an error of which only the text is left, or returns "".
func silentText(text string) string {
	m := silentLine().FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	s, gaveUp := silence.Between(m[1], m[2])
	if !gaveUp {
		return ""
	}
	return "no byte moved to or from " + s.Address + " for " + s.Limit.String()
}

// noHandshake tells whether a server takes connections, and then doesn't speak TLS in time.
func noHandshake(err error, _ string) bool {
	var request *url.Error
	return errors.As(err, &request) && request.Err.Error() == "net/http: TLS handshake timeout" // its type isn't exported
}

// unshaken says which server that is.
func unshaken(err error, _ string) trouble.Facts {
	facts := trouble.Facts{"address": "that address", "detail": "it takes connections, and does no TLS handshake in " + handshakeTime.String()}
	var request *url.Error
	if errors.As(err, &request) {
		if u, err := url.Parse(request.URL); err == nil {
			facts["address"] = u.Host
		}
	}
	return facts
}
