# One profile everywhere: what is tested is what is shipped.
CARGO ?= cargo
BROADHEAD = target/release/broadhead

.PHONY: help build check fmt lint test bench demo serve
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: ## Name what this machine lacks to build and run
	@sh tools/check.sh

build: check ## Build the binary, target/release/broadhead
	$(CARGO) build --release --workspace

fmt: ## Format the code
	$(CARGO) fmt --all

lint: check ## Check formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

test: check ## Run every test, the model checks included
	$(CARGO) test --release --workspace
	cd tests/mesh-model && RUSTFLAGS="--cfg loom" $(CARGO) test --release

bench: check ## Run the benchmarks, each beside its baseline
	$(CARGO) bench --workspace

demo: check ## Import 10,000 Debian packages, search them, clean up
	$(CARGO) build --release --workspace
	@$(BROADHEAD) demo --packages tests/data/debian-10k.parquet --queries tests/data/debian-10k-queries.parquet --scratch target

serve: check ## Run a server on ./data
	$(CARGO) build --release --workspace
	$(BROADHEAD) serve --data data
