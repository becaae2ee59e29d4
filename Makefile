# Everything goes into .venv; nothing else is needed but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check
export PYTHONHASHSEED := 0

.PHONY: demo test check format bench clean

demo: .venv/product
	$(BIN)/bifrost demo

test: check
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal  # twice the servers, half the time

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff check --fix .

bench: .venv/benchmarks
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .benchmarks .bifrost .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage .coverage.* build dist

# The product and its servers; what the tests need besides is many times larger.
.venv/product: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -e '.[embedded]'
	@touch $@

.venv/installed: .venv/product
	$(INSTALL) -e '.[dev]'
	@touch $@

.venv/benchmarks: .venv/installed
	$(INSTALL) -e '.[bench]'
	@touch $@
