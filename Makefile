# setup   the virtual environment with the orchestrator and its tools
# demo    sets up everything and runs the main job: a real engine, a real model, real OpenCompass
# test    sets up everything and passes the tests, those that need an engine or an evaluator last
# quick   the tests that need no engine and no evaluator, but the slow ones
# real    the tests on a real engine or a real evaluator
# heavy   compression, vLLM and llama.cpp for real; installs 4 GB and compiles
# check   format, lint, types, import contract
# bench   the benchmarks
PYTHON ?= python3
BIN := .venv/bin

# Most tests wait for processes. Each worker gets a run of neighbours, which share their servers; who is done takes over.
AT_ONCE := -n 3 --dist worksteal
# Engines and evaluators compute: one for each core, and one module's share an engine.
REAL := $(BIN)/pytest -n 2 --dist loadscope -m real --timeout 900

# `make test` runs what fails once more, and names it: a test that passes only then has a defect to look for.
AGAIN := --reruns 1 -rR

# Hundreds of processes are started: each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test quick real engines heavy check bench clean

setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/orchestrator demo

test: setup engines
	$(BIN)/pytest $(AT_ONCE) -m 'not real and not heavy' $(AGAIN)
	$(REAL) $(AGAIN)

quick: setup
	$(BIN)/pytest $(AT_ONCE) -m 'not slow and not real and not heavy'

real: setup engines
	$(REAL)

engines: setup
	$(BIN)/orchestrator install transformers opencompass lm_eval

heavy: setup
	$(BIN)/orchestrator install transformers opencompass lm_eval gguf llamacpp llmcompressor vllm
	$(BIN)/pytest -m heavy --timeout 3600

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf .venv
