# make demo   run the overfit check, then train a small teacher on the built-in corpus
#             (dev WER 3.3 %, two minutes on two idle CPU cores)
# make test   run the tests in two processes; another number: make test PYTEST_WORKERS=4
# make lint   check style (ruff), the layers (import-linter) and types (mypy)
# make clean  remove .venv
#
# The first three create .venv and install the pinned requirements first, if needed.
# Another Python: make test PYTHON=python3.12

PYTHON ?= python3
PYTEST_WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

$(VENV)/installed: requirements.txt requirements-dev.txt $(wildcard requirements/*.txt)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 14) and "error: Python %d.%d found, 3.11 to 3.14 needed: make test PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(VENV)/installed
	$(BIN)/python overfit_test.py
	$(BIN)/python train_teacher.py --config configs/demo.yaml --epochs 5

test: $(VENV)/installed
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

clean:
	rm -rf $(VENV)
