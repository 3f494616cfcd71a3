package engine

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// sayRetries tells the user of a registry that is asked again, until the returned function is called. The library says so in
// its log alone.
func (b *Builder) sayRetries(subject string) (stop func()) {
	logger := b.options.Logger
	level, out, hooks := logger.GetLevel(), logger.Out, logger.Hooks
	if level < logrus.WarnLevel {
		logger.SetOutput(io.Discard)
		logger.SetLevel(logrus.WarnLevel)
	}
	added := maps.Clone(hooks)
	if added == nil {
		added = logrus.LevelHooks{}
	}
	added.Add(retryHook(func(line string) { b.options.Note(subject + ": " + line) }))
	logger.ReplaceHooks(added)
	return func() {
		logger.SetLevel(level)
		logger.SetOutput(out)
		logger.ReplaceHooks(hooks)
	}
}

// retryHook is told what the library's retrying logs.
type retryHook func(line string)

func (h retryHook) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

// retrying is how the retries of common log themselves.
var retrying = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?s)^Failed, retrying in (\S+) \.\.\. \((\d+)/(\d+)\)\. Error: (.*)$`)
})

func (h retryHook) Fire(entry *logrus.Entry) error {
	if m := retrying().FindStringSubmatch(entry.Message); m != nil {
		reason := m[4][strings.LastIndex(m[4], ": ")+1:] // the innermost
		if why := silentText(m[4]); why != "" {
			reason = why
		}
		h(fmt.Sprintf("%s; trying again in %s (%s of %s)", failure.Redact(strings.TrimSpace(reason)), m[1], m[2], m[3]))
	}
	return nil
}
