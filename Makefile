# shadowprint: `make demo`, `make test` and `make test-slow` install what they need into .venv
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PYTEST := $(RUN) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
WORKDIR ?= runs/demo
ROOT ?= runs/bench
# The worlds of bench-foreign: those for choosing, or those that are run once, at the end.
ROLE ?= tuning
# Real slices for bench-attack and bench-foreign, a folder of PNGs and a csv `file,patient`; without them its slices are phantoms alone.
POOL ?=
PATIENTS ?=
EXTRAS ?= test,lint
# For the parity tests, which are skipped without it, and for benchmarks; nothing else needs it.
TORCH ?= torch==2.13.0

.PHONY: venv torch demo test test-slow test-slurm lint bench bench-unet2d bench-gpu bench-signals bench-attack bench-foreign bench-nulls rehearsal clean

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable ".[$(EXTRAS)]"
	touch $@

torch: venv
	$(RUN) -m pip install --quiet "$(TORCH)"

demo: venv
	$(RUN) launch.py run --config=configs/demo.py --workdir=$(WORKDIR)

# A few minutes; those that train or compile for long, and those of kills, are left to test-slow.
test: venv
	$(PYTEST) -m "not slow"

test-slow: venv
	$(PYTEST) -m slow

# A SLURM cluster of one node on this machine, ten to fifteen minutes; as root on Debian or Ubuntu, else skipped.
test-slurm: venv
	$(RUN) tests/slurm/run.py

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo --no-cache

bench: venv bench-unet2d
	$(RUN) benchmarks/throughput.py

bench-unet2d: venv torch
	$(RUN) benchmarks/unet2d.py

# For a machine with CUDA, where TORCH must name a build for it.
bench-gpu: venv torch
	$(RUN) -m pip install --quiet --editable ".[cuda]"
	$(RUN) benchmarks/gpu.py

bench-signals: venv
	$(RUN) benchmarks/signals.py

# Takes hours: challenges are made and attacked below ROOT, where a run that was stopped goes on.
bench-attack: venv
	$(RUN) benchmarks/attack.py --root=$(ROOT) --pool=$(POOL) --patients=$(PATIENTS)

# Takes two nights: targets are trained by PyTorch, then attacked, below ROOT, where a run that was stopped goes on.
bench-foreign: venv torch
	$(RUN) benchmarks/foreign.py --root=$(ROOT) --role=$(ROLE) --pool=$(POOL) --patients=$(PATIENTS)

# A quarter of an hour: nulls without a generator, by the hundred.
bench-nulls: venv
	$(RUN) benchmarks/nulls.py

# An hour or two: the 2023 task in its own counts and sizes, on phantoms, killed three times; it goes on where it was stopped.
rehearsal: venv
	$(RUN) benchmarks/rehearsal.py --root=$(ROOT)/rehearsal

clean:
	rm -rf $(VENV) runs build *.egg-info
