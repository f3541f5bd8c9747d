# Verbs of the project; `make check` is what .ci/run does after the tests.
PYTHON ?= python
TYPING := build/typing

.PHONY: format lint type test slow check

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

# mypy does not follow setuptools' package-dir map, so the built package is checked.
type:
	rm -rf $(TYPING) build/lib
	$(PYTHON) -m pip install -q --no-deps --target $(TYPING) .
	MYPYPATH=$(TYPING) $(PYTHON) -m mypy -p imm_rl

test:
	$(PYTHON) -m pytest

slow:
	$(PYTHON) -m pytest -m slow

check: lint type test slow
