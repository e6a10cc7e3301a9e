PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench pipeline bench-bus bench-inference bench-gpu crash fuzz clean

demo: $(STAMP)-demo  ## a simulated mining district, end to end, offline
	$(BIN)/groundwatch demo --out demo-out

test: $(STAMP)-test  ## all tests, on real services and real data where they are at hand
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)-lint  ## ruff and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

crash: $(STAMP)-test  ## a fleet under fire beside one process in peace: the same results, nothing lost
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fleet

fuzz: $(STAMP)-test  ## 100,000 damaged events, STAC items, YAML and permit files: clean errors only
	$(BIN)/python -m tests.fuzz

bench:  ## groundwatch beside its peers, interleaved, as ratios; peers live in an environment of their own
	$(MAKE) VENV=.bench-venv pipeline

bench-bus: $(STAMP)-test  ## what the bus carries, locally and through a broker, and how detectors scale
	$(BIN)/python -m benchmarks.bus

bench-inference: $(STAMP)-test  ## prediction beside five separate U-Nets in fp32, interleaved, as ratios
	$(BIN)/python -m benchmarks.inference

bench-gpu: $(STAMP)-test  ## seconds per full tile, share of the roofline and agreement with the CPU, in one call
	$(BIN)/python -m benchmarks.gpu

pipeline: $(STAMP)-bench
	$(BIN)/python -m benchmarks.pipeline

$(STAMP)-demo: EXTRAS := demo
$(STAMP)-test: EXTRAS := demo,fleet,test
$(STAMP)-lint: EXTRAS := demo,fleet,test,lint
$(STAMP)-bench: EXTRAS := bench

$(STAMP)-%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) .bench-venv demo-out
