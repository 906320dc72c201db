# Two commands matter: `make run` starts everything on this machine, `make test` passes every test. Both
# install what they need. `make help` lists the rest.

SHELL    := /bin/sh
BIN      := bin/sallyport
CACHE    := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sallyport
WEB      := replay/console
PLAYER   := $(WEB)/static/vendor/VERSION
FUZZTIME ?= 20s
VERSION  := $(or $(shell git describe --tags --always --dirty 2>/dev/null),devel)

# Pinned tools. MinIO has no tags that the module proxy orders; this is its newest commit there.
MINIO       := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
GOTESTSUM   := gotest.tools/gotestsum@v1.13.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

export SALLYPORT_MINIO := $(CACHE)/bin/minio
export SALLYPORT_KUBE := $(CACHE)/bin
KUBE_VERSION := v1.37.2
KUBE := $(CACHE)/bin/kube-$(KUBE_VERSION)
export GOFLAGS := -buildvcs=false

.PHONY: run
run: setup-run build ## start everything on this machine (Ctrl-C stops)
	@exec $(BIN) dev $(ARGS)

.PHONY: build
build: $(PLAYER) ## build bin/sallyport
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN) ./cmd/sallyport

.PHONY: test
test: setup-test $(PLAYER) $(SALLYPORT_MINIO) $(KUBE) ## pass every test, with real counterparts
	cd integration/kube && go test ./...
	go run $(GOTESTSUM) --format pkgname-and-test-fails --hide-summary=skipped -- -race -timeout 40m ./...

.PHONY: k8s
k8s: setup-test $(KUBE) ## start a Kubernetes API server to try the gate with (Ctrl-C stops)
	@go run ./integration/cluster

.PHONY: bench
bench: setup-test build ## print tables: speed beside what you would use instead
	go run ./filters/mask/internal/benchtable
	go run ./integration/bench
	go test -run '^$$' -bench LongRecording -benchtime 1x ./replay/console

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s)
	@set -e; go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | while read -r pkg; do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

.PHONY: lint
lint: $(PLAYER) ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "lint: gofmt these files"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

.PHONY: vuln
vuln: ## look dependencies up in the vulnerability database (needs vuln.go.dev)
	go run $(GOVULNCHECK) ./...

.PHONY: clean
clean: ## remove what was built here
	rm -rf bin $(WEB)/node_modules $(PLAYER) $(WEB)/static/vendor/*

.PHONY: help
help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.PHONY: setup-run setup-test
setup-run setup-test: setup-%:
	@deploy/setup.sh $*

# The player and the browser tests' driver come from npm at the versions of package-lock.json.
$(PLAYER): $(WEB)/package.json $(WEB)/package-lock.json
	cd $(WEB) && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	@touch $@

# The real object store for tests; built once, then kept.
$(SALLYPORT_MINIO):
	@mkdir -p $(@D)
	@echo "building MinIO for the tests; this takes a few minutes, once"
	cd $(@D) && GOFLAGS= GOBIN=$(@D) go install $(MINIO)

# A real API server, kubectl, and a node whose containers are processes; built once, then kept.
$(KUBE): integration/kube/go.mod integration/kube/node/main.go
	@mkdir -p $(@D)
	@echo "building kube-apiserver and kubectl $(KUBE_VERSION) for the tests; this takes some minutes, once"
	cd integration/kube && go build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(KUBE_VERSION)" \
		-o $(@D)/ k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl && go build -trimpath -o $(@D)/kube-node ./node
	@touch $@
