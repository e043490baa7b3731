# One profile everywhere: what is tested is what is shipped.
CARGO ?= cargo
BROADHEAD = target/release/broadhead
PEERS_PYTHON = target/peers-venv/bin/python
HNSWLIB = target/hnswlib/hnswlib-0.8.0
# Where debian-packages.parquet is, whole; without it the benchmarks take the 10,000 rows of tests/data.
BENCH_DATA ?= $(wildcard ../shared/data)
BENCH_FLAGS ?=

.PHONY: help build check fmt lint test flood bench peers demo serve flamegraph
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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
	$(CARGO) build --release --workspace
	$(CARGO) test --release --workspace
	cd tests/mesh-model && $(CARGO) test --release --locked

flood: check ## The long proof that no shard ever stands still: 500 runs of 1 GB
	$(CARGO) build --release --workspace
	BROADHEAD_FLOOD_RUNS=500 BROADHEAD_FLOOD_MB=1000 $(CARGO) test --release --workspace --test flood -- --nocapture

bench: check target/peers-venv/requirements.installed target/hnswlib.installed ## Run the benchmarks, each beside its baseline (BENCH_FLAGS=--quick)
	@$(CARGO) build --release --workspace --features bench/tantivy
	@if [ -x $(PEERS_PYTHON) ]; then BROADHEAD_PYTHON=$(PEERS_PYTHON); export BROADHEAD_PYTHON; fi; \
	if [ -d $(HNSWLIB) ]; then BROADHEAD_HNSWLIB=$(HNSWLIB); export BROADHEAD_HNSWLIB; fi; \
	BROADHEAD_BENCH_DATA="$(BENCH_DATA)" target/release/broadhead-bench $(BENCH_FLAGS)

peers: check target/peers-venv/requirements-indexes.installed ## Run ours and the indexes of other projects on the same rows
	@$(CARGO) build --release --workspace
	@if [ -x $(PEERS_PYTHON) ]; then BROADHEAD_PYTHON=$(PEERS_PYTHON); export BROADHEAD_PYTHON; fi; \
	BROADHEAD_BENCH_DATA="$(BENCH_DATA)" target/release/broadhead-bench --sections peers $(BENCH_FLAGS)

# The headers of hnswlib, which it is asked through where its filters are: from Python each row would be a call of Python.
target/hnswlib.installed: target/peers-venv/requirements.installed
	@if $(PEERS_PYTHON) -m pip download -q --no-deps --no-binary hnswlib hnswlib==0.8.0 -d target/hnswlib \
		&& tar xzf target/hnswlib/hnswlib-0.8.0.tar.gz -C target/hnswlib; then touch $@; \
	else echo "hnswlib's headers could not be had: filters are not measured beside it" >&2; fi

# Other projects for the comparisons. Not being able to get one is no failure: the figures then stand without it.
target/peers-venv/%.installed: bench/peers/%.txt
	@mkdir -p target
	@if ! command -v python3 >/dev/null; then \
		echo "python3 is missing: nothing is measured beside other projects" >&2; \
	elif ! [ -x $(PEERS_PYTHON) ] && ! python3 -m venv target/peers-venv; then \
		rm -rf target/peers-venv; \
		echo "python3 cannot make a venv: nothing is measured beside other projects" >&2; \
	elif $(PEERS_PYTHON) -m pip install -q -r $<; then \
		touch $@; \
	else \
		while read -r package; do \
			$(PEERS_PYTHON) -m pip install -q "$$package" || \
			echo "$$package could not be installed (pip says why, above): nothing is measured beside it" >&2; \
		done < $<; \
	fi

demo: check ## Import 10,000 Debian packages, search them, clean up
	$(CARGO) build --release --workspace
	@$(BROADHEAD) demo --packages tests/data/debian-10k.parquet --queries tests/data/debian-10k-queries.parquet --scratch target

serve: check ## Run a server on ./data
	$(CARGO) build --release --workspace
	$(BROADHEAD) serve --data data

flamegraph: check ## Sample a server under load with perf, draw target/flamegraph.svg (PID=... for one that runs)
	@[ -n "$(PID)" ] || $(CARGO) build --release --workspace
	@tools/flamegraph.sh $(PID)
