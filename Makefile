# setup   the virtual environment with the orchestrator and its tools
# demo    sets up everything and runs the main job: a real engine, a real model, real OpenCompass
# test    sets up everything and passes the tests, the quick ones first
# quick   the tests that need no engine and no evaluator
# heavy   compression, vLLM and llama.cpp for real; installs 4 GB and compiles
# check   format, lint, types, import contract
# bench   the benchmarks
PYTHON ?= python3
BIN := .venv/bin

# Hundreds of processes are started: each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test quick real heavy check bench clean

setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/orchestrator demo

test: quick real

quick: setup
	$(BIN)/pytest -n 2 -m 'not slow and not real and not heavy'

real: setup
	$(BIN)/orchestrator install transformers opencompass lm_eval
	$(BIN)/pytest -n 2 -m slow
	$(BIN)/pytest -n 2 --dist loadscope -m real --timeout 900

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
