package engine

import (
	"fmt"
	"strings"
	"time"

	"go.podman.io/buildah"
	"go.podman.io/buildah/docker"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// configureHealth sets the health check, of which those settings that aren't named stay as they are, and returns what the
// history says of it. Like buildah config it starts, where there is none, from one that never runs.
func configureHealth(b *buildah.Builder, values map[string]any) (history []string, err error) {
	health := b.Healthcheck()
	none := health == nil
	if none {
		health = &docker.HealthConfig{Test: []string{"NONE"}, Interval: 30 * time.Second, Timeout: 30 * time.Second, Retries: 3}
	}
	changed, said := false, ""
	if value, named := values["healthcheck"]; named {
		if health.Test, err = healthTest(value); err != nil {
			return nil, failure.New("config:", "healthcheck", "%w", err)
		}
		changed = true
	}
	for _, part := range []struct {
		option, flag string
		set          func(value any) error
	}{
		{"healthcheck_interval", "--interval", duration(&health.Interval)},
		{"healthcheck_retries", "--retries", func(value any) error { health.Retries, _ = value.(int); return nil }},
		{"healthcheck_start_period", "--start-period", duration(&health.StartPeriod)},
		{"healthcheck_start_interval", "--start-interval", duration(&health.StartInterval)},
		{"healthcheck_timeout", "--timeout", duration(&health.Timeout)},
	} {
		value, named := values[part.option]
		if !named || none && value == nil {
			continue
		}
		if err := part.set(value); err != nil {
			return nil, failure.New("config:", part.option, "%w", err)
		}
		changed = true
		if value != nil {
			said += fmt.Sprintf("%s=%v ", part.flag, value)
		}
	}
	switch {
	case !changed:
		return nil, nil
	case len(health.Test) == 0:
		b.SetHealthcheck(nil)
		return []string{"HEALTHCHECK NONE"}, nil
	}
	b.SetHealthcheck(health)
	switch v := values["healthcheck"].(type) {
	case string:
		said += v
	case []string:
		said += strings.Join(v, " ")
	}
	return []string{"HEALTHCHECK " + said}, nil
}

// healthTest returns the command of a health check. In a string the words "CMD", "CMD-SHELL" and "NONE" say what it is, as
// on buildah's command line; any other is for the shell.
func healthTest(value any) ([]string, error) {
	line, ok := value.(string)
	if !ok {
		argv, _ := value.([]string)
		return argv, nil
	}
	line = strings.TrimSpace(line)
	switch kind, _, _ := strings.Cut(line, " "); kind {
	case "":
		return nil, nil
	case "CMD", "CMD-SHELL", "NONE":
		return splitWords(line)
	}
	return []string{"CMD-SHELL", line}, nil
}

// duration returns what sets d; nil is no time at all, which leaves it to whoever runs the container.
func duration(d *time.Duration) func(any) error {
	return func(value any) (err error) {
		*d = 0
		if line, ok := value.(string); ok {
			*d, err = time.ParseDuration(line)
		}
		return err
	}
}
