# Meridian. `make` lists the verbs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
BIN      := bin
TOOLS    := $(shell $(GO) env GOPATH)/meridian-tools
PLUGINS  := data-quality territory-assignment

BUF_VERSION          := v1.75.0
PROTOC_GEN_GO        := v1.36.12
PROTOC_GEN_GO_GRPC   := v1.6.2
PROTOC_GEN_CONNECT   := v1.21.1
GOLANGCI_VERSION     := v2.15.0

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## every binary into bin/, and the plugins' checksum lock
	@mkdir -p $(BIN)
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/meridian ./cmd/meridian
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/meridian-facade-filedrop ./adapters/filedrop/cmd
	@for p in $(PLUGINS); do \
	  echo "$(GO) build -o $(BIN)/meridian-plugin-$$p ./plugins/$$p/cmd"; \
	  $(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/meridian-plugin-$$p ./plugins/$$p/cmd || exit 1; done
	$(GO) run ./plugins/wire/lock $(BIN)

run: build ## the demo: four instances with real companies; Ctrl-C stops all (UP="--fresh" for a new start)
	$(BIN)/meridian up --fleet deploy/examples/demo.yaml $(UP)

test: ## everything, on embedded PostgreSQL and Kafka
	$(GO) test -timeout 20m ./...

test-full: test-kafka ## race detector, Apache Kafka and more random cases
	MERIDIAN_ORACLE_CASES=100000 $(GO) test -race -timeout 60m ./...

test-kafka: ## the whole exchange suite on real Apache Kafka 4.4 (needs java and mvn)
	$(GO) test -timeout 20m -tags kafka -v ./instance/exchange/...

test-oracle: ## 100,000 random cases of policy against the oracle (CASES=1000000 SEED=11 for more)
	MERIDIAN_ORACLE_CASES=$(or $(CASES),100000) MERIDIAN_ORACLE_SEED=$(or $(SEED),1) $(GO) test -count=1 -timeout 0 -v -run 'Oracle|Apart' ./policy

bench: build ## ratios against hand-written baselines, into bench/RESULTS.md
	$(GO) run ./bench

lint: $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) $(TOOLS)/buf-$(BUF_VERSION) ## golangci-lint and buf lint
	$(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) run ./...
	$(TOOLS)/buf-$(BUF_VERSION) lint

gen: proto-tools ## regenerate proto/gen
	PATH="$(TOOLS):$$PATH" $(TOOLS)/buf-$(BUF_VERSION) generate

check: lint ## lint, and fail when generated code or go.mod is stale
	@rm -rf /tmp/meridian-gen && cp -r proto/gen /tmp/meridian-gen && $(MAKE) --no-print-directory gen && \
	  diff -r /tmp/meridian-gen proto/gen >/dev/null || { echo "proto/gen is stale: run make gen and commit"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...

setup: proto-tools $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) ## install the development tools
proto-tools: $(TOOLS)/buf-$(BUF_VERSION) $(TOOLS)/protoc-gen-go-$(PROTOC_GEN_GO) $(TOOLS)/protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC) $(TOOLS)/protoc-gen-connect-go-$(PROTOC_GEN_CONNECT)

# install VERSIONED-NAME PACKAGE: each tool keeps its version in its name and a
# plain link beside it, so that a new pin never runs an old binary.
define tool
$(TOOLS)/$(1)-$(3):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) GOFLAGS= $(GO) install $(2)@$(3)
	@cp $(TOOLS)/$(1) $$@
endef
$(eval $(call tool,buf,github.com/bufbuild/buf/cmd/buf,$(BUF_VERSION)))
$(eval $(call tool,protoc-gen-go,google.golang.org/protobuf/cmd/protoc-gen-go,$(PROTOC_GEN_GO)))
$(eval $(call tool,protoc-gen-go-grpc,google.golang.org/grpc/cmd/protoc-gen-go-grpc,$(PROTOC_GEN_GO_GRPC)))
$(eval $(call tool,protoc-gen-connect-go,connectrpc.com/connect/cmd/protoc-gen-connect-go,$(PROTOC_GEN_CONNECT)))
$(eval $(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_VERSION)))

clean: ## remove what build made
	rm -rf $(BIN)

.PHONY: help build run test test-full test-kafka test-oracle bench lint gen check setup proto-tools clean
