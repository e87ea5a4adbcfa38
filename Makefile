# Two commands on a fresh machine: `make demo` and `make test`. Both set up first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-slow lint bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# From authored sentences to a fine-tuned detector and an honest report.
demo: setup
	$(BIN)/luthier run recipes/promises.yaml

# Several processes with a thread each: threads that wait for a core cost more than they bring.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses=4 --dist loadscope

# Real SmolLM2, real kills, ZeRO in two processes, a GPU where there is one: minutes, not seconds.
test-slow: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,deepspeed]'
	$(BIN)/python -m pytest -q -m "slow or gpu or network"

lint: setup
	$(BIN)/ruff check luthier tests benchmarks
	$(BIN)/ruff format --check luthier tests benchmarks
	$(BIN)/mypy

# Side by side with TRL and LLaMA-Factory: `make bench JOBS="a c" BENCH="--repeats 3"`.
bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,trl]'
	$(BIN)/python benchmarks/training.py $(JOBS) $(BENCH)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
