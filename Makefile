# make demo   the overfit check, then a small teacher on the built-in corpus: under 25 % dev WER on two cores
# make test   the tests          make lint   ruff
# Each makes .venv and installs the pinned requirements first if needed. Another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

$(VENV)/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v not in ((3, 11), (3, 12)) and "error: Python %d.%d found, 3.11 or 3.12 needed: make test PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(VENV)/installed
	$(BIN)/python overfit_test.py
	$(BIN)/python train_teacher.py --config configs/demo.yaml

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV)
