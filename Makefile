# lockstep: see `make help`.

GO      ?= go
PYTHON  ?= python3
OUT     ?= build
GOLDEN  := fixtures/golden/golden.safetensors
LOCKSTEP = $(OUT)/bin/lockstep

export CGO_ENABLED = 0
export GOFLAGS += -buildvcs=false

.DEFAULT_GOAL := help

help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the command into build/bin.
	@mkdir -p $(OUT)/bin
	@$(GO) build -trimpath -o $(LOCKSTEP) ./cmd/lockstep

# One directory per state of program, recipe and checkpoint: what an older
# program exported is neither judged nor in the way, and nothing is deleted.
TAIL_DIR = $(OUT)/tail-$$(cat $(LOCKSTEP) Makefile fixtures/nano/* | cksum | cut -d ' ' -f 1)
tail: build ## Plan, export and gate the tail shard [30,32) of the bundled nano checkpoint.
	@out=$(TAIL_DIR) && \
	$(LOCKSTEP) plan --checkpoint fixtures/nano --out $$out --slots 256 && \
	$(LOCKSTEP) export --checkpoint fixtures/nano --layers 30:32 --out $$out --slots 256 \
	    --anchor phi4-mini-ane-v0-spec-2026-04-29=b366672 \
	    --anchor phi4-mini-t4-layer0-pass-2026-04-29=290e3d3 && \
	$(LOCKSTEP) gate --out $$out --layers 30:32 --checkpoint fixtures/nano --golden $(GOLDEN) --accept-partial residency

demo: build ## Export the whole nano model up the ladder, decode plainly and under drafts, read the held-out text.
	@out=$(OUT)/demo-$$(cat $(LOCKSTEP) Makefile fixtures/nano/* | cksum | cut -d ' ' -f 1) && \
	{ $(LOCKSTEP) export --all --checkpoint fixtures/nano --out $$out --slots 256 --accept-partial residency || test $$? = 3; } && \
	$(GO) run ./internal/demo -model $$out

speculation: ## The whole of TestChain and TestSpeculation: 200 prompts with every draft source, all of the text; prints counts.
	@mkdir -p $(OUT); status=0; \
	    LOCKSTEP_LONG=1 $(GO) test -count=1 -timeout 60m -v -run '^Test(Chain|Speculation|DriftingBlocks|OneProgramNeedsItselfAlone)$$' \
	        ./conformance >$(OUT)/speculation.log 2>&1 || status=1; \
	    grep -E '^(---|ok|FAIL|panic)|sequences|per pass|perplexity' $(OUT)/speculation.log; exit $$status

test: ## Run the tests through gotestsum, with a JUnit file.
	@mkdir -p $(OUT)
	@$(GO) tool gotestsum --format pkgname --junitfile $(OUT)/junit.xml -- -count=1 ./...

report: build ## Render the tail's verdicts as Markdown: build/report.md, and GitHub's step summary where there is one.
	@$(LOCKSTEP) report $(TAIL_DIR) --junit $(OUT)/junit.xml $(if $(LOCKSTEP_TALLIES),--mutants "$(LOCKSTEP_TALLIES)") \
	    $(if $(GITHUB_STEP_SUMMARY),--summary "$(GITHUB_STEP_SUMMARY)") >$(OUT)/report.md
	@cat $(OUT)/report.md

probe: build ## Take the probe's steps on the fake plane, with a small layer; a Mac's figures come from lockstep probe itself.
	@$(LOCKSTEP) probe --plane fake --dimensions nano --reserve 1 --work $(OUT)/probe-$$(cat $(LOCKSTEP) | cksum | cut -d ' ' -f 1)

race: ## What is concurrent, under the race detector (needs a C compiler).
	@CGO_ENABLED=1 $(GO) test -race -short -count=1 -run 'Close|Cancel|Concurrent|Lifecycle|Resume|Export$$|Reproducible|Lock' ./exporter ./internal/durable
	@CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 $(GO) test -race -short -count=1 -skip Public ./coreml/...

darwin: ## Link every test binary and the command for a Mac (lint has vetted them).
	@mkdir -p $(OUT)/bin
	@GOOS=darwin GOARCH=arm64 $(GO) test -c -o /dev/null ./...
	@GOOS=darwin GOARCH=arm64 $(GO) build -o $(OUT)/bin/lockstep-darwin-arm64 ./cmd/lockstep
	@echo "darwin: test binaries and command link"

lint: ## gofumpt, vet for Linux and macOS, staticcheck, actionlint. (The arrows between packages are a test.)
	@unformatted="$$($(GO) tool gofumpt -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$'))"; \
	    if [ -n "$$unformatted" ]; then echo "not gofumpt-clean:"; echo "$$unformatted"; exit 1; fi
	@GOOS=linux GOARCH=amd64 $(GO) vet ./...
	@GOOS=darwin GOARCH=arm64 $(GO) vet ./...
	@mkdir -p $(OUT)/bin && $(GO) build -o $(OUT)/bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	@GOOS=linux GOARCH=amd64 $(OUT)/bin/staticcheck ./...
	@GOOS=darwin GOARCH=arm64 $(OUT)/bin/staticcheck ./...
	@$(GO) tool actionlint -shellcheck= -pyflakes=
	@$(GO) test -count=1 -run 'Arrows|SourceRules' ./conformance
	@echo "lint: clean"

portable: ## The same bytes and hidden states with one thread, for amd64.v3 and for arm64 under qemu-user.
	@sh .ci/portable

MUTANTS ?= 1000
mutants: ## Draw MUTANTS (1000) random mutants of each kind, where the tests draw 25.
	@LOCKSTEP_MUTANTS=$(MUTANTS) $(GO) test -count=1 -timeout 30m -run RandomMutants -v ./conformance/mutant

prove: build ## Prove, from config.json, that every shard of Phi-4-mini keeps step at its real dimensions, and the LM head.
	@for piece in '--layers 30:32' '--layers 20:24' '--layers 24:30' '--layers 0:20' --head; do \
	    proof=$$($(LOCKSTEP) prove --checkpoint fixtures/phi4-mini $$piece) || { echo "$$proof"; exit 1; }; \
	    echo "$$proof" | sed -n "s/^result  /prove $$piece/p"; \
	done

REWIRES ?= 11500
rewires: ## Rewire a program REWIRES (11500, of which 5,000 execute) times at random: where terms are equal, numbers must be.
	@LOCKSTEP_REWIRES=$(REWIRES) $(GO) test -count=1 -timeout 60m -run Rewires -v ./conformance/terms | \
	    awk '/rewrites:|stricter|unsound|^(---|ok|FAIL|panic)/ { print; if (/^(FAIL|panic)/) bad = 1 } END { exit bad }'

faults: ## Break the disk: every call failing, ENOSPC at every byte, power loss, 200 processes killed, two exporters at once; prints counts.
	@mkdir -p $(OUT); status=0; \
	    LOCKSTEP_KILLS=200 LOCKSTEP_RIVALS=40 $(GO) test -count=1 -v -run 'Killed|Death|Fail|Full|Fills|PowerLoss|Short|Locked|Eleven|Cancelled|Damaged|TwoExporters' \
	        ./internal/durable/... ./exporter >$(OUT)/faults.log 2>&1 || status=1; \
	    grep -E '^(---|ok|FAIL)|processes killed|exporters met' $(OUT)/faults.log; \
	    grep -c '^--- PASS' $(OUT)/faults.log | sed 's/$$/ fault tests passed/'; exit $$status

FUZZTIME ?= 30s
fuzz: ## Fuzz every parser and the interpreter, FUZZTIME (30s) each.
	@for pkg in $$($(GO) list ./...); do \
	    for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	        echo "fuzz $$pkg $$target"; \
	        $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg || exit 1; \
	    done; \
	done

real: build ## Export and gate the real tail (synthetic weights) on the reference plane; figures for reading.
	@$(GO) run ./internal/realtail -out $(OUT)/real -lockstep $(LOCKSTEP)

crosscheck: build ## Load every exported package with coremltools and evaluate it with numpy; token ids against tokenizers (needs Python 3.11 to 3.13).
	@GO="$(GO)" sh crosscheck/run $(OUT) $(PYTHON)

golden: ## Rewrite the golden files; review the diff.
	@if [ -n "$$CI" ]; then echo "golden files are not rewritten in CI"; exit 1; fi
	@GOLDIE_UPDATE=1 $(GO) test -count=1 ./...

proto: ## Regenerate the protobuf code (needs protoc).
	@$(GO) generate ./internal/mlpackage/...

.PHONY: help build tail demo speculation test report probe race darwin prove lint portable mutants rewires faults fuzz real crosscheck golden proto
