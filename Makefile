# shadowprint: `make demo` and `make test` install what they need into .venv
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
WORKDIR ?= runs/demo
# A torch already here is left alone; PyTorch is only for parity tests and benchmarks.
EXTRAS ?= test,lint

.PHONY: venv demo test test-slurm lint bench clean

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable ".[$(EXTRAS)]"
	touch $@

demo: venv
	$(RUN) launch.py run --config=configs/demo.py --workdir=$(WORKDIR)

test: venv
	$(RUN) -m pytest

# A SLURM cluster of one node on this machine, ten to fifteen minutes; as root on Debian or Ubuntu, else skipped.
test-slurm: venv
	$(RUN) tests/slurm/run.py

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: venv
	$(RUN) benchmarks/throughput.py

clean:
	rm -rf $(VENV) runs build *.egg-info
