# The two commands that matter: `make demo` shows Orpheus, `make test` proves it. Both run as root on Debian 12 with Go, git and make.
SHELL      := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# One set of build flags for everything: another set would compile all of Kubernetes again.
export CGO_ENABLED := 0
export GOFLAGS     := -buildvcs=false
KUBERNETES := v1.36.3
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS    := -s -w -X github.com/orpheus-mesh/orpheus/node.version=$(VERSION) \
	-X k8s.io/component-base/version.gitVersion=$(KUBERNETES)+orpheus \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 \
	-X k8s.io/component-base/version.gitTreeState=clean

PACKAGES := docker.io procps nftables iproute2 util-linux busybox-static redis-server redis-tools docker-registry conntrack curl ca-certificates qemu-user-static
LINTER   := .cache/bin/golangci-lint

KUBECTL := v1.37.2


# One after the other, also under -j: setup, build and the tests need one another.
.NOTPARALLEL:
.PHONY: setup build clients demo test unit race stories conformance figures soak seeds mutants membership bench lint linter lab clean

## setup: install what is missing of the machine (apt-get), and check the Go toolchain
setup:
	@.ci/setup $(PACKAGES)

## build: static binaries in bin/
build:
	@mkdir -p bin
	go build -ldflags '$(LDFLAGS)' -o bin/orpheus ./cmd/orpheus
	go build -ldflags '$(LDFLAGS)' -o bin/lab ./cmd/lab

## clients: kubectl of another version and Helm, from upstream's source: the tests use them unmodified
clients:
	@mkdir -p bin/clients
	cd .ci/clients/kubectl && go build -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=$(KUBECTL) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37' -o ../../../bin/clients/kubectl .
	cd .ci/clients/helm && go build -ldflags '-s -w' -o ../../../bin/clients/helm helm.sh/helm/v4/cmd/helm

## demo: three hosts, an application, a power cut; leaves it running
demo: setup build
	bin/lab demo

## test: everything that CI runs
test: setup build lint unit race stories

## unit: tests of every package but those that need a whole mesh, with the seeds of fuzz tests
unit:
	go test -timeout 15m $$(go list ./... | grep -vE '/cmd/lab/(stories|faults|clients)$$')

## soak: crashes of the store, 1,000 of each kind (about half an hour)
soak:
	STORE_SOAK=1000 go test -count 1 -timeout 3h -run 'Soak' -v ./gossip/store

## membership: what 1,000 servers believe of one another, under virtual time (long)
membership:
	OCEAN=1000 go test -count 1 -timeout 4h -v -run 'AtSize|Stalls|Halves' ./gossip

# A race build is a second set of flags, so it leaves out whatever would compile Kubernetes again.
## race: the race detector on packages whose tests do not need k8s.io/kubernetes
race:
	CGO_ENABLED=1 go test -race -timeout 15m $$(.ci/without-kubernetes)

## seeds: 100,000 histories of the simulated store (some hours; goes on where it was stopped)
seeds:
	@mkdir -p .cache
	go run ./gossip/store/sim/cmd/seeds -count 100000 -workers $$(nproc) -state .cache/seeds

## mutants: plant 80 bugs into the store, one at a time, and tell how many histories find each
mutants:
	go run ./gossip/store/sim/cmd/mutants

## stories: what Orpheus must be able to do, on hosts of the lab
stories: build
	go test -timeout 25m ./cmd/lab/stories

## conformance: faults and operations, and unmodified kubectl and Helm, on hosts of the lab (about 15 minutes)
conformance: build clients
	go test -p 1 -count 1 -timeout 40m ./cmd/lab/faults ./cmd/lab/clients

## figures: what README states, measured anew on five hosts (about two hours)
figures: build
	bin/lab figures all

## bench: benchmarks of the rooms
bench:
	go test -run '^$$' -bench . -benchmem -timeout 30m ./gossip/... ./placement/... ./netmesh/... ./ingress/... ./node/binder/judge

## lint: gofmt, go vet, and golangci-lint, which is compiled first where it is missing (some minutes, once)
lint: $(LINTER)
	@bad=$$(gofmt -l cmd gossip ingress netmesh node placement); if [ -n "$$bad" ]; then echo "gofmt has something to say about:"; echo "$$bad"; exit 1; fi
	go vet ./...
	$(LINTER) run --allow-parallel-runners ./...

## linter: golangci-lint at the version that .ci/linter names, compiled from source
linter: $(LINTER)

$(LINTER): .ci/linter/go.mod .ci/linter/go.sum
	@mkdir -p $(@D)
	cd .ci/linter && go build -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

## lab: three hosts to play with; bin/lab --help says what can be done to them
lab: build
	bin/lab up 3
	bin/lab status

## clean: take the lab down and remove what was built (caches stay)
clean:
	if [ -x bin/lab ] && [ "$$(id -u)" = 0 ]; then bin/lab down; fi
	rm -rf bin
