# rlbuild: `make demo` builds it and runs the main job, `make test` passes the tests. Both install what they lack when run
# as root, and otherwise say which packages to install.

# The one place where build tags are written. openpgp: no gpgme to link; the storage drivers left out need headers few
# machines have; seccomp: filters for run steps, needs libseccomp's headers; grpcnotrace: a library of a library makes
# debugging pages out of HTML templates otherwise, which costs every start 2 ms.
TAGS := containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper,seccomp,grpcnotrace

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
# A stripped test binary matters: it is also the rlbuild under test, and chroot isolation copies it for every step.
# Many tests wait most of the time, so there are twice as many at once as there are processors; but each of them takes memory, and
# they have one disk.
GOTEST  := -count=1 -timeout=40m -parallel=$(shell n=$$((2 * $$(nproc))); echo $$((n < 16 ? n : 16))) -tags=$(TAGS) -trimpath -ldflags=-s
GOBUILD := go build -tags=$(TAGS) -trimpath

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export CGO_ENABLED := 1
export DEBIAN_FRONTEND := noninteractive

.PHONY: build setup setup-test setup-bench peer test e2e parity fuzz bench lint check demo docs clean

build: setup
	$(GOBUILD) -ldflags "$(LDFLAGS)" -o bin/rlbuild ./cmd/rlbuild

# The main job: a script that makes an image out of nothing but a static binary, runs it, and commits it.
demo: build
	bin/rlbuild examples/hello/hello.star

setup:
	@.ci/need build

setup-test: setup
	@.ci/need test

setup-bench: setup-test
	@.ci/need bench

# Buildah at the version of go.mod: what the results and the timings are held against.
peer: setup
	$(GOBUILD) -ldflags "-s -w" -o bin/buildah go.podman.io/buildah/cmd/buildah

# Everything but the parity suite, as an ordinary user; root uses a throwaway one for that and then adds what only root can
# try.
test: setup-test peer
	@.ci/test $(GOTEST) -skip='^TestParity$$' -- ./...

# The command's end-to-end suite alone. RUN picks tests: make e2e RUN=TestOverlay/run_
e2e: setup-test peer
	@.ci/test $(GOTEST) -v -run='$(or $(RUN),.)' -- ./cmd/rlbuild

# The same jobs as shell scripts with buildah and as scripts of rlbuild, and what came of them compared. CASES picks jobs:
# make parity CASES=copy_
parity: setup-test peer
	@.ci/test $(GOTEST) -run='TestParity$$/.*/$(or $(CASES),.)' -- ./cmd/rlbuild

# Every fuzz target for a minute, or FUZZTIME; FUZZ picks some: make fuzz FUZZ=engine/script FUZZTIME=10m
fuzz: setup-test peer
	@.ci/fuzz $(or $(FUZZTIME),60s) '$(or $(FUZZ),.)' -tags=$(TAGS) -trimpath

# rlbuild beside its peer and the floor, in turns: a table on standard output, every sample in bin/bench.json, or where
# BENCH_JSON says. ROWS picks rows and ROUNDS says how many times each is measured: make bench ROWS='commit push' ROUNDS=9
bench: build setup-bench peer
	$(GOBUILD) -o bin/bench ./cmd/bench
	@.ci/bench -rows='$(ROWS)' -rounds='$(or $(ROUNDS),5)'

lint: setup
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go' 2>/dev/null || find . -name '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet -tags=$(TAGS) -trimpath ./... # without -trimpath all that is imported would be compiled for this alone

check: lint test

# The reference page and the README's tables, which are made of what help says, of testdata/parity-table.txt and of
# engine/trouble.
docs: peer
	go test -tags=$(TAGS) ./builtins -run=TestReferencePage -update
	RLBUILD_PEER=$(CURDIR)/bin/buildah go test -tags=$(TAGS) ./cmd/rlbuild -run='TestParityTable|TestTroubleTable' -update

clean:
	rm -rf bin
