# The whole set-up is Go and a C compiler (DuckDB is linked in).
GO      ?= go
VARVE   := bin/varve
ARGS    ?=
TOOL    := $(GO) tool -modfile=.ci/tools/go.mod
# Packages with goroutines of their own: the race detector earns its time there.
RACE    := ./hot/... ./broker/... ./connector/... ./history/... ./replay/... ./internal/remoting/... ./internal/tier/... ./internal/meta/... ./internal/objstore/... ./internal/app/...

.PHONY: build run demo test lint lint-full race interop interop-apache golden bench clean

build: $(VARVE)

.PHONY: $(VARVE)
$(VARVE):
	$(GO) build -trimpath -o $(VARVE) ./cmd/varve

## run: build and start a server with every role; ARGS="--data-dir DIR" and the like pass through
run: build
	$(VARVE) server $(ARGS)

## demo: the main job on real input, checked, in under two minutes
demo: build
	$(VARVE) demo $(ARGS)

## test: everything that needs no other program
test:
	$(GO) test -timeout 10m ./...

## lint: format, vet, the project's own rules, staticcheck
lint:
	@out=$$($(TOOL) gofumpt -l $$(git ls-files '*.go' | grep -v /testdata/)); test -z "$$out" || { echo "not formatted (run gofumpt -w):"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) test ./internal/lint
	$(TOOL) staticcheck ./...

## lint-full: golangci-lint as well, where it is installed
lint-full: lint
	golangci-lint run

race:
	$(GO) test -race -short -timeout 20m $(RACE)

## interop: the Apache Java clients and a real MinIO (needs Java 17 and Maven)
interop:
	./e2e/run.sh

## interop-apache: the same scenarios against the real Apache broker, kept in e2e/apache/results.json for the page
interop-apache:
	./e2e/run.sh -server apache -only java,languages

## golden: records a few requests of each client for the fronts' tests
golden:
	./e2e/run.sh -only java,mqadmin,languages -golden $(CURDIR)/broker/front
	$(GO) test ./broker/front/remoting ./broker/front/grpc -run TestGolden -update

## bench: Varve beside the real Apache broker (needs Java 17 and Maven)
bench:
	./bench/run.sh $(ARGS)

clean:
	rm -rf bin
