package engine

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.podman.io/buildah/define"
	"go.podman.io/buildah/docker"
)

// madeUp are the host names that tools give containers: nobody asked for them, so nobody misses them.
var madeUp = regexp.MustCompile(`^([0-9a-f]{12}|sandbox)?$`)

// noteLoss says what of the container's configuration, inherited or set, and of the commit's own edits the image can't hold.
func (c *Container) noteLoss(o CommitOptions, format string) {
	note := func(why, lost, cure string) {
		c.run.options.Note(fmt.Sprintf("commit %s: %s has no %s, so that is left out: %s", c.target(o.Name), why, lost, cure))
	}
	if format != define.Dockerv2ImageManifest {
		if lost := c.onlyDocker(o.Edits); len(lost) > 0 {
			note("an image in OCI format", strings.Join(lost, ", no "), `commit with format = "docker" to keep it`)
		}
		return
	}
	if c.annotated || len(o.Edits.Annotations) > 0 {
		note("an image in docker's format", "annotations", `commit with format = "oci" to keep them`)
	}
	config := c.builder.Docker.Config
	if o.Times.fixed() != nil && (!madeUp.MatchString(config.Hostname) || config.Domainname != "") {
		note("an image with a fixed time", "host and domain name of its own", "commit without timestamp and source_date_epoch to keep them")
	}
}

// onlyDocker names what there is that only docker's format can hold.
func (c *Container) onlyDocker(e Edits) (found []string) {
	var added docker.Config
	if e.Config != nil {
		_ = json.Unmarshal(e.Config, &added) // what is wrong with it the commit says
	}
	for _, change := range e.Changes {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(change), " ")
		switch strings.ToUpper(instruction) {
		case "HEALTHCHECK":
			added.Healthcheck = &docker.HealthConfig{}
		case "ONBUILD":
			added.OnBuild = []string{rest}
		case "SHELL":
			added.Shell = []string{rest}
		}
	}
	for _, config := range []*docker.Config{c.builder.Docker.Config, &added} {
		for _, setting := range []struct {
			name string
			set  bool
		}{
			{"health check", config.Healthcheck != nil},
			{"triggers (onbuild)", len(config.OnBuild) > 0},
			{"shell", len(config.Shell) > 0},
			{"host name", !madeUp.MatchString(config.Hostname)},
			{"domain name", config.Domainname != ""},
			{"comment", c.builder.Docker.Comment != ""},
		} {
			if setting.set && !slices.Contains(found, setting.name) {
				found = append(found, setting.name)
			}
		}
	}
	return found
}
