package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/openshift/imagebuilder"
	"github.com/openshift/imagebuilder/dockerfile/parser"

	"github.com/rlbuild/rlbuild/engine/failure"
)

// stepFailed begins the library's message about an instruction that failed; the instruction and `": ` follow, and why.
const stepFailed = `building at STEP "`

// mergedContext matches where the library mounts the context, a name that says nothing to anybody.
var mergedContext = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`"?/[^\s"]*/buildah-context-\d+/[^\s"]*/merge(/[^\s"]*)?"?`)
})

// explain turns the library's error into one that says which instruction failed, where it is, and what it printed.
func (b *build) explain(err error, result *Result, end ending) error {
	step, reason := failedStep(err)
	if e := b.elsewhere(step, reason); e != nil {
		return e
	}
	subject := b.subject
	if step != "" {
		if at := b.position(step); at != "" {
			subject += ":" + at
		}
	}
	e := explain("build", subject, reason)
	text, _, _ := strings.Cut(e.Err.Error(), " &imagebuilder.Step{") // what the library knows of it, as Go prints it
	e.Err = errors.New(mergedContext().ReplaceAllString(text, b.contextName()+"$1"))
	var exit *exec.ExitError
	switch {
	case end.reason != "":
		e.Err = errors.New(strip(end.reason))
	case end.signal != 0:
		e.Err = fmt.Errorf("was ended by signal %d (%s)", int(end.signal), end.signal)
	case errors.As(err, &exit):
		e.Err = fmt.Errorf("exited with status %d", exitCode(exit))
	}
	if step == "" {
		if image := pulledImage().FindStringSubmatch(reason.Error()); image != nil {
			e.Err = fmt.Errorf("%s: %w", image[1], e.Err)
		}
		return e
	}
	e.Err = fmt.Errorf("%s: %w", oneLine(step), e.Err)
	if !b.hasContext() && (strings.HasPrefix(step, "COPY ") || strings.HasPrefix(step, "ADD ")) {
		return e.WithHint(`this build has no context to take files from: build("DIR", …)`)
	}
	if b.options.LogFile != "" {
		return e.WithHint("what it printed is in %s.", b.options.LogFile)
	}
	e.Output = result.Stderr.Tail(quotedLines)
	for i, line := range slices.Backward(e.Output) {
		if announced().MatchString(line) {
			e.Output = e.Output[i+1:] // what was printed before is another instruction's
			break
		}
	}
	if s, err := buildScene(step); err == nil && strings.HasPrefix(step, "RUN ") {
		lines := slices.Clone(e.Output)
		slices.Reverse(lines)
		return s.printed(0, lines).because(e)
	}
	return e
}

// elsewhere returns the error of an instruction that names, by a transport, an archive or a folder that isn't in the context, or
// nil. The library looks for it nowhere else, so that instructions can't read the host's files, and if it isn't there goes on
// without: its message is about a temporary file, or a stage. The step is the one that failed. Without one it was a FROM, or
// what the message names.
func (b *build) elsewhere(step string, reason error) error {
	named, _, noStage := strings.Cut(reason.Error(), ": no stage or image found with that name")
	if !noStage && !errors.Is(reason, fs.ErrNotExist) {
		return nil
	}
	suspect := func(node *parser.Node, image string) bool {
		switch {
		case step != "":
			return instruction(node) == step
		case noStage:
			return strings.HasSuffix(named, "from="+image)
		}
		return node.Value == "from"
	}
	for _, file := range b.containerfiles {
		nodes, _ := instructions(file)
		for _, node := range nodes {
			for _, image := range imagesOf(node) {
				at, local := contextPath(image)
				// What a variable stands for isn't known here.
				if !local || !suspect(node, image) || strings.Contains(image, "$") || isThere(Source{Root: b.context, Path: path.Join("/", at)}) {
					continue
				}
				return failure.New("build", fmt.Sprintf("%s:%d", b.subject, node.StartLine), "%s: there is no %s in %s", image, at, b.contextName()).
					WithHint("instructions take archives and folders of the context alone, where every path begins; scripts take any: build_context = {\"base\": pull(%q)}, and base in the instructions.", image)
			}
		}
	}
	return nil
}

// imagesOf returns the images that an instruction names, and stages, as they are written there.
func imagesOf(node *parser.Node) (images []string) {
	if node.Value == "from" && node.Next != nil {
		images = append(images, node.Next.Value)
	}
	for _, flag := range node.Flags {
		name, value, _ := strings.Cut(flag, "=")
		switch name {
		case "--from":
			images = append(images, value)
		case "--mount":
			for option := range strings.SplitSeq(value, ",") {
				if image, found := strings.CutPrefix(option, "from="); found {
					images = append(images, image)
				}
			}
		}
	}
	return images
}

// contextPath returns the path in the name of an image that the library looks for in the context.
func contextPath(image string) (at string, local bool) {
	transport, at, _ := strings.Cut(image, ":")
	switch transport {
	case "oci-archive", "docker-archive", "oci":
		at, _, _ = strings.Cut(at, ":") // a tag follows
		return at, true
	case "dir":
		return at, true
	}
	return "", false
}

// pulledImage finds the image that was asked for in the library's message.
var pulledImage = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:initializing source (?:docker://)?|creating build container: )(\S+?): `)
})

// announced matches the line in which the library announces an instruction.
var announced = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(\[\S+\] )?(\[\d+/\d+\] )?STEP \d+(/\d+)?: `)
})

func (b *build) hasContext() bool {
	return b.options.Source.Context != nil || b.options.Source.URL != ""
}

// contextName is how messages name the context.
func (b *build) contextName() string {
	if !b.hasContext() {
		return "the empty context"
	}
	return b.context
}

// failedStep finds the instruction that failed, "" if it wasn't one, and why.
func failedStep(err error) (step string, reason error) {
	for at := err; at != nil; at = errors.Unwrap(at) {
		rest, found := strings.CutPrefix(at.Error(), stepFailed)
		inner := errors.Unwrap(at)
		if found && inner != nil {
			return strings.TrimSuffix(rest, `": `+inner.Error()), inner
		}
	}
	return "", err
}

// position returns the lines of the instruction, "3" or, if it is there more than once, "3 or 9"; "" if it comes from
// elsewhere, as an image's triggers do.
func (b *build) position(step string) string {
	var lines []string
	for _, file := range b.containerfiles {
		nodes, _ := instructions(file)
		for _, node := range nodes {
			if instruction(node) == step {
				lines = append(lines, strconv.Itoa(node.StartLine))
			}
		}
	}
	return strings.Join(lines, " or ")
}

// instructions parses a Containerfile; ok is false if that can't be done here.
func instructions(file string) (nodes []*parser.Node, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil || strings.HasSuffix(file, ".in") { // the preprocessor makes something else of it
		return nil, false
	}
	root, err := imagebuilder.ParseDockerfile(bytes.NewReader(text))
	if err != nil {
		return nil, false
	}
	return root.Children, true
}

// stages counts the stages, 0 if they can't be counted.
func (b *build) stages() (n int) {
	for _, file := range b.containerfiles {
		nodes, ok := instructions(file)
		if !ok {
			return 0
		}
		for _, node := range nodes {
			if node.Value == "from" {
				n++
			}
		}
	}
	return n
}

// instruction returns an instruction as the library's messages have it.
func instruction(node *parser.Node) string {
	words := append([]string{strings.ToUpper(node.Value)}, node.Flags...)
	if node.Value == "onbuild" && node.Next != nil && len(node.Next.Children) > 0 {
		node = node.Next.Children[0]
		words = append(append(words, node.Value), node.Flags...)
	}
	for next := node.Next; next != nil; next = next.Next {
		words = append(words, next.Value)
	}
	return strings.Join(words, " ")
}
